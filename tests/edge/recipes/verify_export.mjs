// The second implementation: checks an export of the audit log with nothing but Node, by the recursive definitions of
// RFC 6962 section 2.1 (the first one goes by the loops of RFC 9162). With --vectors N it prints roots and proofs of
// trees of up to N leaves for the first one to check.
import { createHash, createPublicKey, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const sha256 = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const leafHash = (data) => sha256(Buffer.from([0]), data);
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);
const split = (size) => {
  let width = 1;
  while (width * 2 < size) width *= 2;
  return width;
};
const root = (hashes) => {
  if (hashes.length === 0) return sha256();
  if (hashes.length === 1) return hashes[0];
  const k = split(hashes.length);
  return nodeHash(root(hashes.slice(0, k)), root(hashes.slice(k)));
};
const path = (m, hashes) => {
  if (hashes.length === 1) return [];
  const k = split(hashes.length);
  return m < k
    ? [...path(m, hashes.slice(0, k)), root(hashes.slice(k))]
    : [...path(m - k, hashes.slice(k)), root(hashes.slice(0, k))];
};
const subproof = (m, hashes, whole) => {
  if (m === hashes.length) return whole ? [] : [root(hashes)];
  const k = split(hashes.length);
  return m <= k
    ? [...subproof(m, hashes.slice(0, k), whole), root(hashes.slice(k))]
    : [...subproof(m - k, hashes.slice(k), false), root(hashes.slice(0, k))];
};
// The root that a path proves for leaf m of n: the recursion of PATH backwards.
const climb = (m, n, leaf, proof) => {
  if (n === 1) {
    if (proof.length) throw new Error("the path is too long");
    return leaf;
  }
  if (!proof.length) throw new Error("the path is too short");
  const k = split(n);
  const last = proof[proof.length - 1];
  const rest = proof.slice(0, -1);
  return m < k ? nodeHash(climb(m, k, leaf, rest), last) : nodeHash(last, climb(m - k, n - k, leaf, rest));
};

const openCheckpoint = (note, line) => {
  const [name, id, encoded] = line.trim().match(/^([^+]+)\+([0-9a-f]{8})\+(.+)$/).slice(1);
  const key = Buffer.from(encoded, "base64");
  const keyId = sha256(Buffer.from(`${name}\n`), key).subarray(0, 4);
  if (key.length !== 33 || key[0] !== 1 || keyId.toString("hex") !== id) throw new Error("no verifier key");
  const at = note.lastIndexOf("\n\n");
  const text = note.slice(0, at + 1);
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), key.subarray(1)]);
  const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
  const signed = note.slice(at + 2).split("\n").some((one) => {
    const [dash, signer, signature] = one.split(" ");
    if (dash !== "\u2014" || signer !== name) return false;
    const raw = Buffer.from(signature, "base64");
    return raw.subarray(0, 4).equals(keyId) && verify(null, Buffer.from(text), publicKey, raw.subarray(4));
  });
  const [origin, size, hash] = text.split("\n");
  if (!signed || origin !== name) throw new Error("the checkpoint is not signed");
  return { size: Number(size), root: Buffer.from(hash, "base64") };
};

// The fields of a protobuf message of texts and messages only, as an AdminRecord is.
const fields = (data) => {
  const found = {};
  let at = 0;
  const varint = () => {
    let number = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = data[at++];
      number += (byte % 128) * scale;
      if (byte < 128) return number;
    }
  };
  while (at < data.length) {
    const tag = varint();
    if (tag % 8 !== 2) throw new Error("no AdminRecord");
    const length = varint();
    found[Math.floor(tag / 8)] = data.subarray(at, at + length);
    at += length;
  }
  return found;
};
const declaredBy = (record, number) =>
  JSON.parse(fields(record)[7].toString())
    .entries.split(",")
    .filter(Boolean)
    .map((span) => span.split("-").map(Number))
    .map(([first, last = first]) => {
      if (!(first > 0 && first <= last && last < number)) throw new Error("declares what is not before it");
      return [first, last];
    });

const check = (folder) => {
  const read = (...names) => readFileSync(join(folder, ...names), "utf8");
  const note = read("checkpoint");
  const { size, root: signedRoot } = openCheckpoint(note, read("verifier-key"));
  const start = existsSync(join(folder, "start.json")) ? JSON.parse(read("start.json")) : null;
  const missing = [];
  const declared = [];
  const heads = existsSync(join(folder, "heads.json")) ? JSON.parse(read("heads.json")) : null;
  const siblingsOf = (index) => {
    const folderName = String(Math.floor(index / 1000)).padStart(6, "0");
    const proof = read("proofs", folderName, `${index}.tlog-proof`);
    const at = proof.indexOf("\n\n");
    const [head, place, ...hashes] = proof.slice(0, at).split("\n");
    if (head !== "c2sp.org/tlog-proof@v1" || place !== `index ${index}`) throw new Error(`${index}: no proof of it`);
    if (proof.slice(at + 2) !== note) throw new Error(`${index}: another checkpoint`);
    return hashes.map((one) => Buffer.from(one, "base64"));
  };
  // A leaf of the log's own with the root over one line for each organisation: the line's number, what the target says.
  const told = (one, kind) => {
    const index = Number(one.index);
    if (!climb(index, size, leafHash(Buffer.from(one.leaf)), siblingsOf(index)).equals(signedRoot))
      throw new Error(`${kind}: the log does not have them`);
    const leaf = JSON.parse(one.leaf.replace(/^dac-audit\/v1\n/, ""));
    const siblings = one.line_path.map((hash) => Buffer.from(hash, "base64"));
    const top = climb(Number(one.place), Number(one.lines), leafHash(Buffer.from(one.line)), siblings);
    if (leaf.kind !== kind || leaf.action !== `audit.${kind}` || !leaf.target.endsWith(`:${top.toString("hex")}`))
      throw new Error(`${kind}: another line`);
    const [org, number] = one.line.split(" ");
    return { index, org, number: Number(number), says: leaf.target.split(":").slice(0, -1) };
  };
  const begins = start ? told(start, "start") : null;
  const first = begins ? Number(begins.says[1]) : 0;
  if (begins && !(begins.says[0] === "start" && begins.says.length === 2 && first <= begins.index))
    throw new Error("start: it says none");
  let number = begins ? begins.number : 0;
  let [counted, orgId, last] = [number, begins ? begins.org : "", first - 1];
  for (const line of read("entries.jsonl").split("\n").filter(Boolean)) {
    const entry = JSON.parse(line);
    const index = Number(entry.index);
    const siblings = siblingsOf(index);
    if (!climb(index, size, leafHash(Buffer.from(entry.leaf)), siblings).equals(signedRoot))
      throw new Error(`${index}: the log does not have it`);
    const leaf = JSON.parse(entry.leaf.replace(/^dac-audit\/v1\n/, ""));
    number += 1;
    if (index <= last) throw new Error(`${index}: not behind ${last}`);
    last = index;
    if (orgId && leaf.org_id !== orgId) throw new Error(`${index}: of another organisation`);
    if (leaf.org_seq !== String(number)) throw new Error(`${index}: number ${leaf.org_seq}, ${number} is due`);
    if (heads && index < Number(heads.index)) counted += 1;
    orgId = leaf.org_id;
    const salt = Buffer.from(entry.salt, "base64");
    const record = Buffer.from(entry.record, "base64");
    if (!salt.length && !record.length && !leaf.action.startsWith("audit.")) {
      missing.push(number);
      continue;
    }
    const commitment = sha256(Buffer.from("c/v1"), salt, record).toString("hex");
    if (commitment !== leaf.commitment) throw new Error(`${index}: another record`);
    if (leaf.kind === "change" && ["audit.erase", "audit.prune"].includes(leaf.action))
      declared.push(...declaredBy(record, number));
  }
  const silent = missing.find((one) => !declared.some(([first, last]) => first <= one && one <= last));
  if (silent) throw new Error(`number ${silent}: its record is gone, and no later entry declares that`);
  const own = begins ? `${number - begins.number} entries from ${first}` : `${number} entries`;
  if (!heads) return own;
  const noted = told(heads, "heads");
  if (noted.says.join() !== "heads" || noted.index < first) throw new Error("heads: they say none");
  if ((orgId && noted.org !== orgId) || noted.number !== counted) throw new Error(`heads: ${counted} entries are here`);
  return `${own}, whole up to ${noted.index}`;
};

const vectors = (most) => {
  const leaves = Array.from({ length: most }, (_, n) => leafHash(Buffer.from(`leaf ${n}`)));
  const trees = [];
  for (let n = 1; n <= most; n += 1) {
    const own = leaves.slice(0, n);
    const hex = (hashes) => hashes.map((one) => one.toString("hex"));
    trees.push({
      size: n,
      root: root(own).toString("hex"),
      inclusion: own.map((_, m) => hex(path(m, own))),
      consistency: own.map((_, m) => hex(subproof(m + 1, own, true))),
    });
  }
  return trees;
};

if (process.argv[2] === "--vectors") {
  console.log(JSON.stringify(vectors(Number(process.argv[3]))));
} else {
  try {
    console.log(`OK ${check(process.argv[2])}`);
  } catch (error) {
    console.log(`WRONG ${error.message}`);
    process.exitCode = 1;
  }
}

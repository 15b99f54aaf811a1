"use strict";
// The page works without this file, but for the playground. Nothing here writes HTML from text.
const root = document.documentElement;
const store = { get: k => { try { return localStorage.getItem(k); } catch { return null; } }, set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* private window */ } } };
const theme = store.get("dac-theme");
if (theme === "light" || theme === "dark") root.dataset.theme = theme;

const make = (tag, props = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
};
const all = (query, inside = document) => [...inside.querySelectorAll(query)];

function themes() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  for (const button of all("[data-theme-toggle]")) {
    const say = () => button.setAttribute("aria-label", `Theme: switch to ${dark() ? "light" : "dark"}`);
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      store.set("dac-theme", root.dataset.theme);
      say();
    });
  }
}

function ago(seconds) {
  const size = Math.abs(seconds);
  const steps = [[90, 1, "second"], [5400, 60, "minute"], [129600, 3600, "hour"], [Infinity, 86400, "day"]];
  const [, unit, word] = steps.find(([limit]) => size < limit);
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.round(seconds / unit), word);
}

function times(inside) {
  const form = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const today = new Date().toDateString();
  for (const node of all("time[datetime]", inside)) {
    const at = new Date(node.dateTime);
    if (isNaN(at)) continue;
    const old = ago((Date.now() - at) / 1000);
    const short = at.toDateString() === today ? clock : Math.abs(Date.now() - at) < 2e10 ? day : form;
    node.title = `${form.format(at)}, ${old} (${node.dateTime})`;
    node.textContent = node.hasAttribute("data-relative") ? old : short.format(at);
  }
}

function copies(inside) {
  for (const button of all("[data-copy]", inside)) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(document.querySelector(button.dataset.copy).textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select and copy it";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1800);
    });
  }
}

function sorts(inside) {
  for (const button of all("[data-sort]", inside)) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
      const index = [...head.parentNode.children].indexOf(head);
      const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("num"));
      for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      for (const row of all("tr.detail", body)) row.remove();
      for (const link of all("[data-expand]", body)) link.setAttribute("aria-expanded", "false");
      const value = row => row.children[index].dataset.value ?? row.children[index].textContent;
      const order = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b);
      body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(value(a), value(b))));
    });
  }
}

function filters() {
  for (const box of all("[data-filter]")) {
    box.hidden = false;
    box.addEventListener("input", () => {
      const wanted = box.value.toLowerCase();
      for (const row of all(`${box.dataset.filter} tbody tr`)) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  }
}

// A story opens below its row; it is the part of the story's own page, as the server wrote it.
function expands() {
  for (const link of all("[data-expand]")) {
    link.setAttribute("aria-expanded", "false");
    link.setAttribute("role", "button");
    link.addEventListener("keydown", event => { if (event.key === " ") { event.preventDefault(); link.click(); } });
    link.addEventListener("click", async event => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      const row = link.closest("tr"), open = row.nextElementSibling;
      if (open?.classList.contains("detail")) {
        open.remove();
        link.setAttribute("aria-expanded", "false");
        return;
      }
      if (link.dataset.busy) return;
      link.dataset.busy = "1";
      let told = null;
      try {
        const answer = await fetch(link.href, { headers: { accept: "text/html" } });
        told = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#story");
      } catch { /* the page itself says what is the matter */ }
      delete link.dataset.busy;
      if (!told) { location.href = link.href; return; }
      told.removeAttribute("id");
      const cell = make("td", { colSpan: row.cells.length }, document.adoptNode(told));
      row.after(make("tr", { className: "detail" }, cell));
      link.setAttribute("aria-expanded", "true");
      times(cell); sorts(cell); copies(cell);
    });
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value.replaceAll("\r\n", "\n");
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const data = rest.slice(0, end).split("\n").filter(line => line.startsWith("data:")).map(line => line.slice(5).trim()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
      if (data === "[DONE]") yield { ended: true };
    }
  }
}

const took = ms => (ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms)} ms`);

class Playground {
  constructor(form) {
    this.form = form;
    this.talk = form.querySelector("#talk");
    this.box = form.querySelector("#message");
    this.send = form.querySelector("[data-send]");
    this.stop = form.querySelector("[data-stop]");
    this.messages = [];
    form.querySelector("[data-without-script]").remove();
    form.addEventListener("submit", event => { event.preventDefault(); this.ask(); });
    this.box.addEventListener("keydown", event => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
    });
    this.stop.addEventListener("click", () => this.abort?.abort());
    form.querySelector("[data-clear]").addEventListener("click", () => {
      this.abort?.abort();
      this.messages = [];
      this.talk.replaceChildren();
      form.querySelector(".hint").hidden = false;
      this.box.focus();
    });
    const asked = new URLSearchParams(location.search).get("model");
    if (asked && [...form.model.options].some(one => one.value === asked)) form.model.value = asked;
  }

  turn(kind, text) {
    const line = make("p", { textContent: text });
    const turn = make("div", { className: `turn ${kind}` }, line);
    this.talk.append(turn);
    this.follow(true);
    return turn;
  }

  follow(always) {
    const { talk } = this;
    if (always || talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80) talk.scrollTop = talk.scrollHeight;
  }

  busy(on) {
    this.send.disabled = on;
    this.stop.hidden = !on;
    this.talk.setAttribute("aria-busy", String(on));
  }

  async ask() {
    const text = this.box.value.trim();
    if (!text || this.send.disabled) return;
    this.form.querySelector(".hint").hidden = true;
    this.box.value = "";
    this.messages.push({ role: "user", content: text });
    this.turn("me", text);
    const turn = this.turn("busy", ""), line = turn.firstChild, meta = make("div", { className: "meta" });
    turn.append(meta);
    this.abort = new AbortController();
    this.busy(true);
    const started = performance.now();
    const seen = { answer: "", firstMs: 0 };
    try {
      await this.stream(turn, line, meta, seen, started);
    } catch (error) {
      const stopped = error.name === "AbortError";
      meta.before(make("p", { className: stopped ? "meta" : "notice bad", role: stopped ? "status" : "alert",
        textContent: stopped ? "Stopped. What came until then is charged." : error.said || "DAC could not be reached. Is it running?" }));
      if (error.away) meta.append(make("a", { href: "/console/sign-in", textContent: "Sign in", className: "button" }));
    }
    turn.classList.remove("busy");
    if (seen.answer) this.messages.push({ role: "assistant", content: seen.answer });
    else { this.messages.pop(); if (!this.box.value) this.box.value = text; }
    this.busy(false);
    this.follow(false);
    this.box.focus();
  }

  async stream(turn, line, meta, seen, started) {
    const system = this.form.system.value.trim(), most = Number(this.form.most.value);
    const body = {
      model: this.form.model.value,
      messages: system ? [{ role: "system", content: system }, ...this.messages] : this.messages,
      stream: true,
      stream_options: { include_usage: true, include_dac: true },
      ...(most > 0 ? { max_completion_tokens: most } : {}),
    };
    const answer = await fetch("/console/chat", {
      method: "POST", signal: this.abort.signal, body: JSON.stringify(body),
      headers: { "content-type": "application/json", "x-csrf-token": document.querySelector("meta[name=csrf]").content },
    });
    const id = answer.headers.get("x-dac-request-id");
    const story = make("a", { href: `/console/requests/${encodeURIComponent(id)}`, textContent: "Why this route" });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      if (id && answer.status !== 401 && answer.status !== 403) meta.append(story);
      throw Object.assign(new Error("refused"), { said: told.error?.message || `HTTP ${answer.status}`, away: answer.status === 401 });
    }
    meta.append(
      make("span", { className: "mono", textContent: answer.headers.get("x-dac-model") || "" }),
      make("span", { className: "route", textContent: answer.headers.get("x-dac-route") || "" }),
    );
    let ended = false;
    for await (const event of events(answer.body)) {
      if (event.error) throw Object.assign(new Error("broken"), { said: event.error.message });
      ended ||= Boolean(event.ended);
      const piece = event.choices?.[0]?.delta?.content;
      if (piece) {
        seen.firstMs ||= performance.now() - started;
        seen.answer += piece;
        line.append(piece);
        this.follow(false);
      }
      if (event.usage || event.dac) seen.last = { ...seen.last, ...(event.usage && { usage: event.usage }), ...(event.dac && { dac: event.dac }) };
    }
    if (!ended) throw Object.assign(new Error("cut"), { said: "The answer broke off before its end." });
    const facts = [];
    if (seen.last?.usage) facts.push(`${seen.last.usage.prompt_tokens} tokens in, ${seen.last.usage.completion_tokens} out`);
    if (seen.last?.dac) facts.push(seen.last.dac.cost_usd === null ? "no price known" : `$${seen.last.dac.cost_usd}`);
    facts.push(`first token ${took(seen.firstMs)}`, `in all ${took(performance.now() - started)}`);
    meta.append(...facts.map(fact => make("span", { textContent: fact })), story);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  themes(); times(document); copies(document); sorts(document); filters(); expands();
  const form = document.querySelector("#play");
  if (form) new Playground(form);
  // A page that answered a form stands at its own address: reloading it sends nothing twice.
  const view = document.querySelector(".side nav a[aria-current]");
  const answered = /[?&]done=/.test(location.search) || document.querySelector(".fresh");
  if (view && answered) history.replaceState(null, "", view.getAttribute("href"));
  view?.scrollIntoView({ block: "nearest", inline: "center" });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") for (const one of all("details.confirm[open]")) { one.open = false; one.querySelector("summary").focus(); }
  });
  document.addEventListener("click", event => {
    for (const one of all("details.confirm[open]")) if (!one.contains(event.target)) one.open = false;
  });
});

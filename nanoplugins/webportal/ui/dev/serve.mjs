// Serves the built portal with its real security headers, before the invented API: `node dev/serve.mjs [port]`.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { attach, MockApi } from "./mock.mjs";

const root = process.env.NANO_PORTAL_OUT ?? fileURLToPath(new URL("../../static", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".woff": "font/woff" };
const api = new MockApi();

const server = createServer((request, response) => {
  if (request.url.startsWith("/api/v2/")) return void api.handle(request, response);
  const path = join(root, normalize(new URL(request.url, "http://x").pathname));
  const file = existsSync(path) && statSync(path).isFile() ? path : join(root, "index.html");
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
  });
  return createReadStream(file).pipe(response);
});
attach(server, api);
server.listen(Number(process.argv[2] ?? 5899), "127.0.0.1", () => console.log("ready"));

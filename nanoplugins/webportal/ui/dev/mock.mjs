// An invented API for `npm run dev` and for looking at pages: enough of /api/v2 to click through, nothing kept.
import { randomUUID } from "node:crypto";
import { WebSocketServer } from "ws";
import { allowed, GIB, makeInstance, makeWorld, operation, series, system } from "./data.mjs";
import { serveScreen } from "./rfb.mjs";

const SETTLE_MS = 2500;
const TARGET = { start: "running", stop: "stopped", power_off: "stopped", reboot: "running", reset: "running", pause: "paused", resume: "running" };

export class MockApi {
  constructor() {
    this.world = makeWorld();
    this.sockets = new Set();
    this.isLoggedIn = false;
  }

  tell(topic, id) {
    this.world.revision += 1;
    const message = { type: "event", cursor: String(this.world.revision), topic, id, revision: this.world.revision, is_deleted: false };
    for (const socket of this.sockets) socket.send(JSON.stringify(message));
  }

  async handle(request, response) {
    const url = new URL(request.url, "http://x");
    const path = url.pathname.replace("/api/v2", "");
    const body = await read(request);
    const send = (status, value, headers = {}) => {
      response.writeHead(status, { "Content-Type": status >= 400 ? "application/problem+json" : "application/json", "X-Request-Id": randomUUID(), ...headers });
      response.end(value === undefined ? "" : JSON.stringify(value));
    };
    const fail = (status, code, detail, extra = {}) => send(status, { type: "about:blank", title: code, status, code, detail, request_id: randomUUID(), ...extra });
    this.answer(request.method, path, url.searchParams, body, send, fail, response, request);
  }

  answer(method, path, query, body, send, fail, response, request) {
    const [, noun, id, sub, name] = path.split("/");
    if (noun === "session") return this.session(method, body, send, fail);
    if (!this.isLoggedIn) return fail(401, "unauthenticated", "log in first");
    if (noun === "system") return send(200, system(this.world));
    if (noun === "uploads") return this.upload(method, id, body, request, response);
    const rows = this.world[noun];
    if (!rows) return fail(404, "not_found", `there is no ${path}`);
    if (method === "GET" && !id) return send(200, page(rows, query));
    if (method === "POST" && !id) return this.create(noun, body, send, fail);
    const row = rows.find((other) => other.id === id);
    if (!row) return fail(404, "not_found", `there is no ${noun.replace(/s$/, "")} ${id}`);
    if (sub === "metrics") return send(200, series(Number(query.get("to")) - Number(query.get("from"))));
    if (sub === "console") return send(201, { ticket: randomUUID(), ws_path: `/api/v2/console/${body.kind}`, expires_at: new Date().toISOString() });
    if (sub === "actions" && noun === "instances") return this.act(row, name, send, fail);
    if (sub === "actions") return (row.is_enabled = name === "enable"), this.tell(noun, id), send(200, row);
    if (method === "GET") return setTimeout(() => send(200, decorate(row)), query.get("wait_seconds") && row.state === "running" ? 500 : 0);
    if (method === "PATCH") return Object.assign(row, body), this.tell(noun, id), send(200, decorate(row));
    return this.remove(noun, row, send);
  }

  session(method, body, send, fail) {
    const permissions = ["*"];
    if (method === "POST" && body.password !== "nano") return fail(401, "unauthenticated", "unknown user or wrong password");
    if (method === "DELETE") return (this.isLoggedIn = false), send(204);
    if (method === "POST") this.isLoggedIn = true;
    if (!this.isLoggedIn) return fail(401, "unauthenticated", "no session");
    const user = { id: "u1", username: "admin", roles: ["administrator"], permissions, is_enabled: true, created_at: null };
    return send(method === "POST" ? 201 : 200, { user, csrf_token: "x", expires_at: new Date(Date.now() + 3.6e6).toISOString() });
  }

  upload(method, id, body, request, response) {
    const image = this.world["disk-images"].find((row) => row.id === id);
    if (method === "PATCH") image.uploaded_bytes += body.length;
    if (image.uploaded_bytes >= image.size_bytes) image.state = "ready";
    this.tell("disk-images", id);
    response.writeHead(method === "HEAD" ? 200 : 204, { "Upload-Offset": image.uploaded_bytes, "Upload-Length": image.size_bytes, "Tus-Resumable": "1.0.0" });
    setTimeout(() => response.end(), 400);
  }

  create(noun, body, send, fail) {
    if (noun === "instances") return this.createInstance(body, send, fail);
    const base = { id: randomUUID(), created_at: new Date().toISOString() };
    const shapes = {
      tokens: { user_id: "u1", roles: [], expires_at: null, last_used_at: null, ...body, token: "nano_" + randomUUID() },
      "node-invites": { roles: ["cell"], name: null, ...body, expires_at: new Date(Date.now() + 3.6e6).toISOString(), command: "sudo ./quickstart --join nano1.abcdefghijklmnop.qrstuvwxyz0123456789.core.example:5860", token: "t" },
      "compute-pools": { description: "", ...body, is_enabled: true, cells: [], cells_reachable: 0, instances: 0, instances_running: 0, usage: { ...system(this.world).usage, cores: 0, memory_bytes: 0, disk_bytes: 0 } },
      "disk-images": { description: "", tags: [], sha256: null, ...body, state: "uploading", reason: null, format: "qcow2", uploaded_bytes: 0, virtual_size_bytes: 0, owner: "admin", cached_on: [] },
    };
    const row = { ...base, ...shapes[noun] };
    this.world[noun].push(noun === "tokens" || noun === "node-invites" ? { ...row, token: null, command: null } : row);
    this.tell(noun, row.id);
    return send(201, noun === "disk-images" ? { ...row, upload_path: `/api/v2/uploads/${row.id}` } : row);
  }

  createInstance(body, send, fail) {
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(body.name)) return fail(400, "invalid_argument", "the name is no host name", { field: "name", errors: { name: ["lower-case letters, digits and inner hyphens only"] } });
    const image = this.world["disk-images"].find((row) => row.id === body.image_id) ?? this.world["disk-images"][0];
    const row = makeInstance(body.name, "creating", this.world.nodes[0], image, 40, { vcpus: body.vcpus ?? 1, memory_bytes: body.memory_bytes ?? GIB, tags: body.tags ?? [] });
    this.world.instances.push(row);
    return this.begin("instance.create", row, "running", send);
  }

  act(row, action, send, fail) {
    const answer = allowed(row).find((other) => other.name === action);
    if (!answer?.allowed) return fail(409, "wrong_state", `${row.name} can't ${action}: ${answer?.why_not}`);
    return this.begin(`instance.${action}`, row, TARGET[action], send);
  }

  begin(kind, row, state, send) {
    const running = operation(kind, "running", row.id, 0, { progress: { step: "working", done: 1, total: 3, unit: "steps" }, ended_at: null });
    this.world.operations.unshift(running);
    this.tell("operations", running.id);
    setTimeout(() => {
      if (state) row.state = { ...row.state, observed: state, since: new Date().toISOString() };
      Object.assign(running, { state: "succeeded", result: { action: state === "running" ? "start" : "stop" }, ended_at: new Date().toISOString() });
      this.tell("instances", row.id);
      this.tell("operations", running.id);
    }, SETTLE_MS);
    return send(202, running, { Location: `/api/v2/operations/${running.id}` });
  }

  remove(noun, row, send) {
    this.world[noun] = this.world[noun].filter((other) => other !== row);
    this.tell(noun, row.id);
    return noun === "instances" ? this.begin("instance.delete", row, null, send) : send(204);
  }

  connect(path, socket) {
    if (path.includes("/console/screen")) return serveScreen(socket);
    if (path.includes("/console/serial")) {
      socket.send(Buffer.from("\x1b[1;32mweb-1\x1b[0m login: \x1b[38;2;255;120;0mtrue colour\x1b[0m\r\n# "));
      socket.on("message", (data) => socket.send(data));
      return undefined;
    }
    this.sockets.add(socket);
    socket.send(JSON.stringify({ type: "hello", cursor: String(this.world.revision) }));
    return socket.on("close", () => this.sockets.delete(socket));
  }
}

function decorate(row) {
  return row.nics ? { ...row, allowed_actions: allowed(row) } : row;
}

const at = (row, path) => path.split(".").reduce((value, key) => (Array.isArray(value) ? value.map((item) => item[key]) : value?.[key]), row);

function page(rows, query) {
  let found = rows.map(decorate);
  for (const [field, wanted] of query) {
    if (["limit", "cursor", "sort", "q"].includes(field)) continue;
    const values = wanted.split(",");
    found = found.filter((row) => [at(row, field)].flat().some((value) => values.includes(String(value))));
  }
  const words = (query.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  found = found.filter((row) => words.every((word) => JSON.stringify(row).toLowerCase().includes(word)));
  const sort = query.get("sort") ?? "";
  if (sort) found.sort((a, b) => String(at(a, sort.replace("-", ""))).localeCompare(String(at(b, sort.replace("-", ""))), "en", { numeric: true }) * (sort.startsWith("-") ? -1 : 1));
  const start = Number(query.get("cursor") ?? 0);
  const limit = Number(query.get("limit") ?? 100);
  const end = start + limit;
  return { items: found.slice(start, end), next_cursor: end < found.length ? String(end) : null, total: found.length, revision: 1 };
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const bytes = Buffer.concat(parts);
  const isJson = (request.headers["content-type"] ?? "").startsWith("application/json");
  return isJson ? JSON.parse(bytes.toString() || "{}") : bytes;
}

export function attach(server, api) {
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    if (!request.url.startsWith("/api/v2/")) return;
    sockets.handleUpgrade(request, socket, head, (opened) => api.connect(request.url, opened));
  });
}

export function mockApi() {
  const api = new MockApi();
  return {
    name: "nano-mock-api",
    configureServer(server) {
      attach(server.httpServer, api);
      server.middlewares.use((request, response, next) => (request.url.startsWith("/api/v2/") ? void api.handle(request, response) : next()));
    },
  };
}

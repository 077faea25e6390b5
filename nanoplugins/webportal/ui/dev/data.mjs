// The invented zone: three nodes, two compute pools, some images and instances.
import { randomUUID } from "node:crypto";

export const GIB = 1024 ** 3;
const now = () => new Date().toISOString();
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

const usage = (cores, cpu, memory, used, disk, diskUsed) => ({
  cores,
  vcpus_allocated: Math.round(cores * 0.7),
  cpu_percent: cpu,
  memory_bytes: memory * GIB,
  memory_used_bytes: used * GIB,
  memory_allocated_bytes: used * GIB,
  disk_bytes: disk * GIB,
  disk_used_bytes: diskUsed * GIB,
  disk_read_bytes_per_second: 1.2e6,
  disk_write_bytes_per_second: 4.2e6,
  network_receive_bytes_per_second: 2e5,
  network_transmit_bytes_per_second: 9e5,
});

const POWER = { start: ["stopped", "crashed"], stop: ["running"], power_off: ["running", "paused"], reboot: ["running"], reset: ["running", "paused"], pause: ["running"], resume: ["paused"], console: ["running", "paused"] };

export function allowed(instance) {
  const state = instance.state.observed;
  const answers = Object.entries(POWER).map(([name, states]) => {
    const may = states.includes(state);
    return { name, allowed: may, why_not: may ? null : state === "unknown" ? "its node cell-3 is unreachable" : `it is ${state}` };
  });
  const mayDelete = !instance.protected && state !== "unknown";
  const why = instance.protected ? "it is protected; take the protection off first" : "its node cell-3 is unreachable";
  return [...answers, { name: "update", allowed: true, why_not: null }, { name: "delete", allowed: mayDelete, why_not: mayDelete ? null : why }];
}

function node(id, name, roles, state, pool, extra = {}) {
  return { id, name, roles, zone: "default", version: "2.0.0", state, reason: null, since: ago(86400), compute_pool_id: pool && `pool-${pool}`, compute_pool: pool, is_enabled: true, accelerator: roles.includes("cell") ? "kvm" : null, accelerator_reason: roles.includes("cell") ? "a probe guest ran under KVM" : null, instances: 0, instances_running: 0, usage: usage(16, 34, 64, 41, 500, 210), is_self: false, ...extra };
}

function image(name, state, extra = {}) {
  return { id: randomUUID(), name, description: "", state, reason: null, format: "qcow2", size_bytes: 190 * 1024 ** 2, uploaded_bytes: 190 * 1024 ** 2, virtual_size_bytes: 2 * GIB, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", tags: ["linux"], owner: "admin", cached_on: ["node-1"], created_at: ago(7200), ...extra };
}

export function makeInstance(name, observed, nodeRow, imageRow, index, extra = {}) {
  const running = observed === "running";
  return { id: randomUUID(), name, description: "", state: { desired: running ? "running" : "stopped", observed, reason: observed === "crashed" ? "the guest's kernel panicked" : null, since: ago(300) }, ready: { is_ready: running ? true : null, reason: null }, compute_pool_id: nodeRow.compute_pool_id, compute_pool: nodeRow.compute_pool, node_id: nodeRow.id, node: nodeRow.name, zone: "default", vcpus: 1 + (index % 4), memory_bytes: (1 + (index % 3)) * GIB, disks: [{ id: randomUUID(), size_bytes: 10 * GIB, is_boot: true, image_id: imageRow.id }], nics: [{ id: randomUUID(), mac: `52:54:00:00:00:${(10 + index).toString(16)}`, network_id: "net-1", network: "default", addresses: [`10.77.0.${10 + index}`] }], image: { id: imageRow.id, name: imageRow.name }, template: null, tags: index % 2 ? ["web", "prod"] : ["db"], autostart: index % 3 === 0, protected: index === 1, qos: {}, owner: "admin", group: null, operation_id: null, usage: { cpu_percent: (index * 17) % 100, memory_bytes: GIB * 0.6, disk_read_bytes_per_second: 1000, disk_write_bytes_per_second: 52000, network_receive_bytes_per_second: 800, network_transmit_bytes_per_second: 1900, at: now() }, placement_reason: "least memory allocated of 2 cells", created_at: ago(3600 * index + 90), started_at: running ? ago(1800) : null, allowed_actions: [], ...extra };
}

export function makeWorld() {
  const nodes = [node("node-1", "nano-1", ["core", "cell", "frontend"], "online", "default", { is_self: true }), node("node-2", "cell-2", ["cell"], "online", "default"), node("node-3", "cell-3", ["cell"], "unreachable", "edge", { reason: "no beat for 2 s", since: ago(240) })];
  const images = [image("debian-12", "ready"), image("alpine-3.22", "ready", { tags: [] }), image("broken-upload", "failed", { reason: "it names a backing file, which is refused", sha256: null }), image("ubuntu-24.04", "uploading", { uploaded_bytes: 60 * 1024 ** 2, sha256: null, size_bytes: 200 * 1024 ** 2 })];
  const states = ["running", "running", "stopped", "running", "paused", "running", "crashed", "running", "stopped", "running"];
  const instances = Array.from({ length: 34 }, (_, index) => makeInstance(["web", "db", "cache", "build"][index % 4] + `-${index + 1}`, index === 9 ? "unknown" : states[index % 10], index === 9 ? nodes[2] : nodes[index % 2], images[0], index));
  const pools = [{ id: "pool-default", name: "default", description: "Everything at first", is_enabled: true, cells: ["node-1", "node-2"], cells_reachable: 2, instances: 33, instances_running: 18, usage: usage(32, 34, 128, 82, 1000, 420), created_at: ago(86400) }, { id: "pool-edge", name: "edge", description: "", is_enabled: true, cells: ["node-3"], cells_reachable: 0, instances: 1, instances_running: 0, usage: usage(8, 0, 32, 30, 200, 20), created_at: ago(8000) }];
  const operations = [operation("instance.create", "succeeded", instances[0].id, 400), operation("instance.start", "failed", instances[6].id, 200, { result: { action: "start" }, error: { code: "no_capacity", message: "no cell of compute pool edge has 3 GiB of memory free", reason: "placement" } }), operation("instance.stop", "running", instances[2].id, 12, { progress: { step: "stop", done: 1, total: 3, unit: "steps" }, ended_at: null })];
  const networks = [{ id: "net-1", name: "default", mode: "nat", cidr: "10.77.0.0/24", gateway: "10.77.0.1", domain: "nano.internal", is_default: true, addresses_total: 253, addresses_allocated: 34, tags: [], created_at: ago(86400) }];
  const plugins = [["agent", "enabled", "turns commands into driver calls"], ["compute", "enabled", "instances, compute pools, cells"], ["kvm", "enabled", "libvirt driver"], ["metrics", "failed", "history of nodes and instances"], ["sim", "disabled", "in-memory drivers"], ["webportal", "enabled", "this portal"]].map(([name, state, summary]) => ({ name, version: "2.0.0", summary, distribution: "nano-cloud", state, reason: state === "failed" ? "RuntimeError: ring file is corrupt" : state === "disabled" ? "not listed in [kernel] plugins" : null, failures: state === "failed" ? 3 : 0 }));
  const tokens = [{ id: "tok-1", name: "ci", user_id: "u1", roles: ["administrator"], created_at: ago(90000), expires_at: new Date(Date.now() + 8e9).toISOString(), last_used_at: ago(60), token: null }];
  return { nodes, "disk-images": images, instances, "compute-pools": pools, operations, networks, plugins, tokens, "node-invites": [], revision: 100 };
}

export function operation(kind, state, id, secondsAgo, extra = {}) {
  return { id: randomUUID(), kind, state, progress: { step: "", done: 0, total: 0, unit: "steps" }, resources: [{ kind: "instance", id }], result: null, error: null, requested_by: "admin", created_at: ago(secondsAgo), started_at: ago(secondsAgo), ended_at: ago(secondsAgo - 3), children: [], ...extra };
}

export function system(world) {
  return { name: "nano", version: "2.0.0", zone: "default", features: [], usage: usage(40, 31, 160, 96, 1200, 440), instances: world.instances.length, instances_running: world.instances.filter((row) => row.state.observed === "running").length, nodes: 3, nodes_online: 2, images: world["disk-images"].length, problems: [{ kind: "node", id: "node-3", text: "Node cell-3 has been unreachable for 4 minutes" }, { kind: "plugin", id: "metrics", text: "Plugin metrics failed: ring file is corrupt" }] };
}

export function series(seconds) {
  const step = Math.max(5, Math.round(seconds / 200));
  const end = Math.floor(Date.now() / 1000);
  const times = Array.from({ length: 200 }, (_, index) => end - (199 - index) * step);
  const wave = (scale, base, phase) => times.map((time, index) => (index < 8 ? null : base + scale * (1 + Math.sin(time / (seconds / 20) + phase)) + Math.random() * scale * 0.3));
  return { step_seconds: step, times, series: { cpu_percent: wave(22, 8, 0), memory_bytes: wave(1.5e8, 4e8, 1), memory_used_bytes: wave(4e9, 3e10, 1), disk_used_bytes: wave(1e9, 2e11, 1), disk_read_bytes_per_second: wave(3e5, 0, 2), disk_write_bytes_per_second: wave(6e5, 0, 3), network_receive_bytes_per_second: wave(1e5, 0, 4), network_transmit_bytes_per_second: wave(2e5, 0, 5) } };
}

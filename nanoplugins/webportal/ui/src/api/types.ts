// The public API's shapes, field for field.

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total: number;
  revision: number;
}

export interface User {
  id: string;
  username: string;
  roles: string[];
  permissions: string[];
  is_enabled: boolean;
  created_at: string | null;
}

export interface Session {
  user: User;
  csrf_token: string | null;
  expires_at: string | null;
}

export interface Usage {
  cores: number;
  vcpus_allocated: number;
  cpu_percent: number;
  memory_bytes: number;
  memory_used_bytes: number;
  memory_allocated_bytes: number;
  disk_bytes: number;
  disk_used_bytes: number;
  disk_read_bytes_per_second: number;
  disk_write_bytes_per_second: number;
  network_receive_bytes_per_second: number;
  network_transmit_bytes_per_second: number;
}

export interface SystemProblem {
  kind: string;
  id: string;
  text: string;
}

export interface SystemOverview {
  name: string;
  version: string;
  zone: string;
  features: string[];
  usage: Usage;
  instances: number;
  instances_running: number;
  nodes: number;
  nodes_online: number;
  images: number;
  problems: SystemProblem[];
}

export type ObservedState =
  | "creating"
  | "stopped"
  | "running"
  | "paused"
  | "stopping"
  | "crashed"
  | "missing"
  | "unknown";

export type PowerAction = "start" | "stop" | "power_off" | "reboot" | "reset" | "pause" | "resume";
export type InstanceAction = PowerAction | "console" | "update" | "delete";

export interface AllowedAction {
  name: InstanceAction;
  allowed: boolean;
  why_not: string | null;
}

export interface Disk {
  id: string;
  size_bytes: number;
  is_boot: boolean;
  image_id: string | null;
}

export interface Nic {
  id: string;
  mac: string;
  network_id: string;
  network: string;
  addresses: string[];
}

export interface InstanceUsage {
  cpu_percent: number;
  memory_bytes: number;
  disk_read_bytes_per_second: number;
  disk_write_bytes_per_second: number;
  network_receive_bytes_per_second: number;
  network_transmit_bytes_per_second: number;
  at: string | null;
}

export interface Instance {
  id: string;
  name: string;
  description: string;
  state: { desired: string; observed: ObservedState; reason: string | null; since: string };
  ready: { is_ready: boolean | null; reason: string | null };
  compute_pool_id: string;
  compute_pool: string;
  node_id: string | null;
  node: string | null;
  zone: string;
  vcpus: number;
  memory_bytes: number;
  disks: Disk[];
  nics: Nic[];
  image: { id: string; name: string } | null;
  template: string | null;
  tags: string[];
  autostart: boolean;
  protected: boolean;
  owner: string;
  group: string | null;
  operation_id: string | null;
  usage: InstanceUsage | null;
  placement_reason: string | null;
  created_at: string;
  started_at: string | null;
  allowed_actions: AllowedAction[];
}

export interface InstanceCreate {
  name: string;
  image_id: string;
  vcpus?: number;
  memory_bytes?: number;
  disk_size_bytes?: number;
  compute_pool_id?: string;
  node_id?: string;
  network_id?: string;
  description?: string;
  tags?: string[];
  autostart?: boolean;
  protected?: boolean;
  is_started?: boolean;
}

export interface DiskImage {
  id: string;
  name: string;
  description: string;
  state: "uploading" | "inspecting" | "ready" | "failed";
  reason: string | null;
  format: string;
  size_bytes: number;
  uploaded_bytes: number;
  virtual_size_bytes: number;
  sha256: string | null;
  tags: string[];
  owner: string;
  cached_on: string[];
  created_at: string;
}

export interface CreatedDiskImage extends DiskImage {
  upload_path: string;
}

export interface ComputePool {
  id: string;
  name: string;
  description: string;
  is_enabled: boolean;
  cells: string[];
  cells_reachable: number;
  instances: number;
  instances_running: number;
  usage: Usage;
  created_at: string;
}

export interface Node {
  id: string;
  name: string;
  roles: string[];
  zone: string;
  version: string;
  state: "online" | "unreachable" | "revoked";
  reason: string | null;
  since: string | null;
  compute_pool_id: string | null;
  compute_pool: string | null;
  is_enabled: boolean;
  accelerator: string | null;
  accelerator_reason: string | null;
  instances: number;
  instances_running: number;
  usage: Usage;
  is_self: boolean;
}

export interface Invite {
  id: string;
  roles: string[];
  name: string | null;
  expires_at: string;
  token: string | null;
  command: string | null;
}

export interface Network {
  id: string;
  name: string;
  mode: string;
  cidr: string;
  gateway: string;
  domain: string;
  is_default: boolean;
  addresses_total: number;
  addresses_allocated: number;
  tags: string[];
  created_at: string;
}

export interface ResourceRef {
  kind: string;
  id: string;
  name?: string | null;
}

export interface OperationError {
  code: string;
  message?: string;
  detail?: string;
  reason?: string | null;
  incident?: string | null;
  details?: Record<string, unknown>;
}

export interface Operation {
  id: string;
  kind: string;
  state: "pending" | "running" | "succeeded" | "failed" | "cancelled";
  progress: { step: string; done: number; total: number; unit: string };
  resources: ResourceRef[];
  result: Record<string, unknown> | null;
  error: OperationError | null;
  requested_by: string;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  children: string[];
}

export interface PluginStatus {
  name: string;
  version: string;
  summary: string;
  distribution: string;
  state: "enabled" | "disabled" | "failed";
  reason: string | null;
  failures: number;
}

export interface Token {
  id: string;
  name: string;
  user_id: string;
  roles: string[];
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  token: string | null;
}

export interface Series {
  step_seconds: number;
  times: number[];
  series: Record<string, (number | null)[]>;
}

export interface ConsoleTicket {
  ticket: string;
  ws_path: string;
  expires_at: string;
}

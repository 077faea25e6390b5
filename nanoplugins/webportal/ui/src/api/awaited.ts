// Shapes whose routes are not there yet.
import type { DiskImage } from "./types";

export interface Snapshot {
  id: string;
  name: string;
  description: string;
  parent_id: string | null;
  is_current: boolean;
  is_consistent: boolean;
  instance_id: string;
  schedule_id: string | null;
  created_at: string;
  size_bytes: number | null;
}

export interface SnapshotSchedule {
  id: string;
  name: string;
  instance_id: string;
  interval_seconds: number;
  keep: number;
  next_at?: string | null;
  last_error?: string | null;
}

export interface Volume {
  id: string;
  name: string;
  size_bytes: number;
  used_bytes: number | null;
  node_id: string;
  node: string;
  storage_pool_id: string;
  storage_pool: string;
  instance_id: string | null;
  instance: string | null;
  is_boot: boolean;
  state: string;
  created_at: string;
}

export interface StoragePath {
  id: string;
  node_id: string;
  node: string;
  path: string;
  state: string;
  reason: string | null;
  total_bytes: number;
  used_bytes: number;
  is_enabled: boolean;
  is_draining: boolean;
  volumes: number;
}

export interface StoragePool {
  id: string;
  name: string;
  description: string;
  driver: string;
  compute_pool_ids: string[];
  paths: StoragePath[];
  total_bytes: number;
  used_bytes: number;
  created_at: string;
}

export interface Template {
  id: string;
  name: string;
  description: string;
  values: Record<string, unknown>;
  created_at: string;
}

export interface ImageMore {
  version?: number;
  source?: { kind: string; [key: string]: unknown } | null;
  used_by?: string[] | number;
}

export type Image = DiskImage & ImageMore;

export interface Guest {
  facts?: unknown;
  stages?: { name: string; state: string; reason?: string | null }[];
}

// What is read, under which key. The first part of a key is the event topic that makes it stale.
import { QueryClient, keepPreviousData, queryOptions } from "@tanstack/react-query";
import { get, getPage } from "./client";
import { Problem } from "./problem";
import type {
  AddressPool,
  ComputePool,
  DiskImage,
  Guest,
  Image,
  Instance,
  Invite,
  Network,
  Node,
  Operation,
  PluginHealth,
  PluginStatus,
  SearchResult,
  SecurityPolicy,
  Series,
  Snapshot,
  SnapshotSchedule,
  StoragePool,
  SystemOverview,
  Template,
  Token,
  Volume,
} from "./types";

export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        refetchOnWindowFocus: false,
        retry: (count, error) => count < 2 && !isFinal(error),
      },
    },
  });
}

/** Refusals stay refusals; only a broken connection or a busy server is asked again. */
function isFinal(error: unknown): boolean {
  return error instanceof Problem && !["unavailable", "busy", "deadline_exceeded"].includes(error.details.code);
}

function list<T>(topic: string, search: string) {
  return queryOptions({
    queryKey: [topic, "list", search],
    queryFn: ({ signal }) => getPage<T>(`/${topic}${search ? `?${search}` : ""}`, signal),
    placeholderData: keepPreviousData,
  });
}

function item<T>(topic: string, id: string) {
  return queryOptions({
    queryKey: [topic, "item", id],
    queryFn: ({ signal }) => get<T>(`/${topic}/${encodeURIComponent(id)}`, signal),
    enabled: id !== "",
  });
}

export const instances = (search = "limit=1000") => list<Instance>("instances", search);
export const instance = (id: string) => item<Instance>("instances", id);
export const diskImages = (search = "limit=1000") => list<DiskImage>("disk-images", search);
export const image = (topic: "disk-images" | "media-images", id: string) => item<Image>(topic, id);
export const mediaImages = (search = "limit=1000") => list<DiskImage>("media-images", search);
export const templates = (search = "limit=1000&sort=name") => list<Template>("templates", search);
export const template = (id: string) => item<Template>("templates", id);
export const volumes = (search = "limit=1000") => list<Volume>("volumes", search);
export const storagePools = (search = "limit=1000&sort=name") => list<StoragePool>("storage-pools", search);
export const storagePool = (id: string) => item<StoragePool>("storage-pools", id);
export const addressPools = (search = "limit=1000&sort=name") => list<AddressPool>("address-pools", search);
export const addressPool = (id: string) => item<AddressPool>("address-pools", id);
export const securityPolicies = (search = "limit=1000&sort=name") => list<SecurityPolicy>("security-policies", search);
export const securityPolicy = (id: string) => item<SecurityPolicy>("security-policies", id);
export const snapshotSchedules = (instanceId: string) =>
  list<SnapshotSchedule>("snapshot-schedules", `limit=1000&instance_id=${instanceId}`);
export const guest = (instanceId: string) =>
  queryOptions({
    queryKey: ["instances", "guest", instanceId],
    queryFn: ({ signal }) => get<Guest>(`/instances/${instanceId}/guest`, signal),
  });
export const snapshots = (instanceId: string) =>
  queryOptions({
    queryKey: ["instances", "snapshots", instanceId],
    queryFn: ({ signal }) => getPage<Snapshot>(`/instances/${instanceId}/snapshots?limit=1000`, signal),
  });
export const computePools = (search = "limit=1000") => list<ComputePool>("compute-pools", search);
export const computePool = (id: string) => item<ComputePool>("compute-pools", id);
export const nodes = (search = "limit=1000") => list<Node>("nodes", search);
export const node = (id: string) => item<Node>("nodes", id);
export const invites = () => list<Invite>("node-invites", "");
export const networks = (search = "limit=1000") => list<Network>("networks", search);
export const operations = (search = "limit=50") => list<Operation>("operations", search);
export const plugins = () => list<PluginStatus>("plugins", "");
export const tokens = () => list<Token>("tokens", "");

export const system = () =>
  queryOptions({ queryKey: ["system"], queryFn: ({ signal }) => get<SystemOverview>("/system", signal) });

export const search = (text: string) =>
  queryOptions({
    queryKey: ["search", text],
    queryFn: ({ signal }) => get<SearchResult>(`/search?limit=20&q=${encodeURIComponent(text)}`, signal),
    enabled: text.trim() !== "",
    placeholderData: keepPreviousData,
  });

export const nodePlugins = (id: string) =>
  queryOptions({
    queryKey: ["nodes", "plugins", id],
    queryFn: ({ signal }) => getPage<PluginHealth>(`/nodes/${id}/plugins`, signal),
  });

/** `subject` is the path of what was measured: `instances/ID`, `system`. */
export const metrics = (subject: string, seconds: number) =>
  queryOptions({
    queryKey: ["metrics", subject, seconds],
    queryFn: ({ signal }) => {
      const to = Math.floor(Date.now() / 1000);
      const step = Math.max(1, Math.round(seconds / 240));
      return get<Series>(`/${subject}/metrics?from=${to - seconds}&to=${to}&step=${step}`, signal);
    },
    refetchInterval: seconds <= 3600 ? 5_000 : 60_000,
    placeholderData: keepPreviousData,
  });

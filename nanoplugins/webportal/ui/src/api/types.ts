// The API's shapes under short names. They come from its OpenAPI document: `npm run types` makes schema.ts anew.
import type { components } from "./schema";

/** Answers carry every field, also those that have a default in the document and are therefore not required there. */
type Whole<T> = T extends (infer Item)[]
  ? Whole<Item>[]
  : T extends object
    ? { [Key in keyof T]-?: Whole<Exclude<T[Key], undefined>> }
    : T;
type Schemas = { [Name in keyof components["schemas"]]: Whole<components["schemas"][Name]> };

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  total: number;
  revision: number;
}

export type User = Schemas["User"];
export type Session = Schemas["SessionInfo"];
export type Usage = Schemas["Usage"];
export type SystemOverview = Schemas["SystemOverview"];
export type SystemProblem = Schemas["Problem"];
export type Instance = Schemas["Instance"];
export type InstanceAction = Schemas["InstanceAction"];
export type Disk = Schemas["Disk"];
export type Nic = Schemas["Nic"];
export type MediaDrive = Schemas["MediaDrive"];
export type Qos = Schemas["Qos"];
export type GuestFacts = Schemas["GuestFacts"];
export type Guest = Schemas["Guest"];
export type DiskImage = Schemas["DiskImage"];
export type CreatedDiskImage = Schemas["CreatedDiskImage"];
export type ComputePool = Schemas["ComputePool"];
export type Node = Schemas["Node"];
export type Invite = Schemas["Invite"];
export type Network = Schemas["Network"];
export type OperationError = Pick<Schemas["ErrorBody"], "code" | "message" | "reason"> & { details: Record<string, unknown> };
export type MediaImage = Schemas["MediaImage"];
/** What both kinds of image have; only a disk image has a size of its own inside. */
export type Image = Omit<MediaImage, "source"> & Pick<DiskImage, "source"> & { virtual_size_bytes?: number };
export type Snapshot = Schemas["Snapshot"];
export type SnapshotSchedule = Schemas["SnapshotSchedule"];
export type Volume = Schemas["Volume"];
export type StoragePool = Schemas["StoragePool"];
export type StoragePath = Schemas["StoragePoolPath"];
export type PluginHealth = Schemas["PluginHealth"];
export type SearchHit = Schemas["SearchHit"];
export type SearchResult = Schemas["SearchResult"];
export type AddressPool = Schemas["AddressPool"];
export type AddressRange = Schemas["AddressRange"];
export type Reservation = Schemas["Reservation"];
export type SecurityPolicy = Schemas["SecurityPolicy"];
export type PolicyRule = Schemas["PolicyRule"];
export type Operation = Omit<Schemas["Operation"], "error" | "result"> & {
  error: OperationError | null;
  result: Record<string, unknown> | null;
};
export type ResourceRef = Schemas["ResourceRef"];
export type PluginStatus = Schemas["PluginStatus"];
export type Token = Schemas["Token"];
export type Series = Omit<Schemas["Series"], "series"> & { series: Record<string, (number | null)[]> };
export type ConsoleTicket = { ticket: string; ws_path: string; expires_at: string };
export type Template = Schemas["Template"];

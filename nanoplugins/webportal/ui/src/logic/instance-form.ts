// The form of a new instance, and of a template: which fields there are, and the request that they make.
import { bodyOf, draftOf, type Body, type Draft, type FieldSpec } from "./draft";
import { GIB, MIB } from "./format";
import { PATTERN_MARK } from "./names";

/** Stands for a disk without an image on it. */
export const BLANK = "blank";

export const FORM: FieldSpec[] = [
  { key: "image_id", kind: "choice" },
  { key: "vcpus", kind: "number" },
  { key: "memory_bytes", kind: "number", unit: MIB },
  { key: "disk_size_bytes", kind: "number", unit: GIB },
  { key: "compute_pool_id", kind: "choice" },
  { key: "node_id", kind: "choice" },
  { key: "storage_pool_id", kind: "choice" },
  { key: "media_image_ids", kind: "choices" },
  { key: "cloud_init.username" },
  { key: "cloud_init.password", kind: "password" },
  { key: "cloud_init.hostname" },
  { key: "cloud_init.ssh_keys", kind: "lines" },
  { key: "cloud_init.user_data", kind: "textarea" },
  { key: "firmware", kind: "choice" },
  { key: "has_tpm", kind: "check" },
  { key: "description", kind: "textarea" },
  { key: "tags", kind: "tags" },
  { key: "autostart", kind: "check" },
  { key: "protected", kind: "check" },
  { key: "qos.cpu_weight", kind: "number" },
  { key: "qos.disk_iops", kind: "number" },
  { key: "qos.disk_bytes_per_second", kind: "number", unit: MIB },
  { key: "qos.network_bytes_per_second", kind: "number", unit: MIB },
];

export const DISK_FORM: FieldSpec[] = [
  { key: "size_bytes", kind: "number", unit: GIB },
  { key: "volume_id", kind: "choice" },
  { key: "name" },
  { key: "storage_pool_id", kind: "choice" },
  { key: "is_kept", kind: "check" },
];

export const NIC_FORM: FieldSpec[] = [
  { key: "network_id", kind: "choice" },
  { key: "security_policy_id", kind: "choice" },
  { key: "address" },
  { key: "mac" },
];

export interface InstanceDraft extends Draft {
  name: string;
  count: string;
  template_id: string;
  is_started: boolean;
  disks: Draft[];
  nics: Draft[];
}

export const FRESH: InstanceDraft = {
  name: "",
  count: "1",
  template_id: "",
  is_started: true,
  disks: [],
  nics: [{}],
  vcpus: "1",
  memory_bytes: "1024",
  firmware: "",
};

/** A template's values in the form; what it does not say stays as it was. */
export function withValues(draft: InstanceDraft, values: Body): InstanceDraft {
  const said = FORM.filter((field) => (values[field.key.split(".")[0] as string] ?? null) !== null);
  const rows = (key: string, form: FieldSpec[]) =>
    Array.isArray(values[key]) ? { [key]: (values[key] as Body[]).map((row) => draftOf(form, row)) } : {};
  return {
    ...draft,
    ...draftOf(said, values),
    ...rows("disks", DISK_FORM),
    ...rows("nics", NIC_FORM),
    ...(values.is_started === false ? { is_started: false } : {}),
  };
}

/** Everything but the name. */
export function valuesOf(draft: InstanceDraft): Body {
  const { image_id: image, ...body } = bodyOf(FORM, draft);
  const nics = draft.nics.map((row) => bodyOf(NIC_FORM, row));
  const isPlain = nics.length === 1 && Object.keys(nics[0] ?? {}).length === 0;
  return {
    ...(image && image !== BLANK ? { image_id: image } : {}),
    ...body,
    ...(draft.disks.length > 0 ? { disks: draft.disks.map((row) => bodyOf(DISK_FORM, row)) } : {}),
    ...(isPlain ? {} : { nics }),
    ...(draft.is_started ? {} : { is_started: false }),
  };
}

/** Where it goes, and what is sent: one instance by itself, several as a batch. */
export function requestOf(draft: InstanceDraft): { path: string; body: Body } {
  const count = Math.trunc(Number(draft.count)) || 1;
  const name = draft.name.trim();
  const rest = { ...(draft.template_id ? { template_id: draft.template_id } : {}), ...valuesOf(draft) };
  if (count <= 1) return { path: "/instances", body: { name: name.replace(PATTERN_MARK, "1"), ...rest } };
  const pattern = name.includes(PATTERN_MARK) ? name : `${name}-${PATTERN_MARK}`;
  return { path: "/instance-batches", body: { create: { name_pattern: pattern, count, ...rest } } };
}

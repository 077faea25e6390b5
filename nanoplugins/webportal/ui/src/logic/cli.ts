// The same request as a command line and as JSON, to copy.
import type { InstanceCreate } from "../api/types";

const PLAIN = /^[A-Za-z0-9_./:@%+=,-]+$/;

export function quote(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The command has an option of the same name for every field; false and absent fields are left out. */
export function createCommand(body: InstanceCreate, imageName: string): string {
  const words = ["nano", "instance", "create", quote(body.name || "NAME"), "--image", quote(imageName || "IMAGE")];
  const option = (name: string, value: string | number | undefined) => {
    if (value !== undefined && value !== "") words.push(`--${name}`, quote(String(value)));
  };
  option("vcpus", body.vcpus);
  option("memory", body.memory_bytes === undefined ? undefined : `${body.memory_bytes / 1024 ** 2}MiB`);
  option("disk", body.disk_size_bytes === undefined ? undefined : `${body.disk_size_bytes / 1024 ** 3}GiB`);
  option("compute-pool", body.compute_pool_id);
  option("node", body.node_id);
  option("network", body.network_id);
  option("description", body.description);
  for (const tag of body.tags ?? []) option("tag", tag);
  if (body.autostart) words.push("--autostart");
  if (body.protected) words.push("--protected");
  if (body.is_started === false) words.push("--no-start");
  return words.join(" ");
}

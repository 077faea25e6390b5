// The same request as a command line, to copy.
import { at, type Body } from "./draft";

const PLAIN = /^[A-Za-z0-9_./:@%+=,-]+$/;

export function quote(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

const mib = (bytes: unknown) => `${Number(bytes) / 1024 ** 2}MiB`;
const plain = (value: unknown) => String(value);

/** Where a value stands in the request, its option, and how it is written there. */
const OPTIONS: [path: string, option: string, write: (value: unknown) => string][] = [
  ["vcpus", "--vcpus", plain],
  ["memory_bytes", "--memory", mib],
  ["disk_size_bytes", "--disk", mib],
  ["compute_pool_id", "--compute-pool", plain],
  ["node_id", "--node", plain],
  ["network_id", "--network", plain],
  ["description", "--description", plain],
];

const FLAGS: [path: string, value: boolean, option: string][] = [
  ["autostart", true, "--autostart"],
  ["protected", true, "--protected"],
  ["is_started", false, "--no-start"],
];

const KNOWN = new Set(["name", "image_id", "tags", ...OPTIONS.map(([path]) => path), ...FLAGS.map(([path]) => path)]);

/** `nano instance create` as far as its options go; what says more is sent by `nano api`. */
export function createCommand(path: string, body: Body, nameOf: (imageId: string) => string): string {
  const image = body.image_id;
  if (!image || Object.keys(body).some((key) => !KNOWN.has(key))) {
    return `nano api POST ${path} --data ${quote(JSON.stringify(body))}`;
  }
  const words = ["nano", "instance", "create", quote(String(body.name ?? "") || "NAME"), "--image", quote(nameOf(String(image)))];
  for (const [field, option, write] of OPTIONS) {
    const value = at(body, field);
    if (value !== undefined && value !== "") words.push(option, quote(write(value)));
  }
  for (const tag of (body.tags as string[] | undefined) ?? []) words.push("--tag", quote(tag));
  for (const [field, wanted, option] of FLAGS) if (at(body, field) === wanted) words.push(option);
  return words.join(" ");
}

// The same request as a command line, to copy.
import { at, type Body } from "./draft";

const PLAIN = /^[A-Za-z0-9_./:@%+=,-]+$/;

export function quote(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

const mib = (bytes: unknown) => `${Number(bytes) / 1024 ** 2}MiB`;
const gib = (bytes: unknown) => `${Number(bytes) / 1024 ** 3}GiB`;
const plain = (value: unknown) => String(value);

/** Where a value stands in the request, its option, and how it is written there. */
const OPTIONS: [path: string, option: string, write: (value: unknown) => string][] = [
  ["template_id", "--template", plain],
  ["vcpus", "--vcpus", plain],
  ["memory_bytes", "--memory", mib],
  ["disk_size_bytes", "--disk", gib],
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

/** Every option that the command and the form share, and whether the form says more than the command can. */
export function createCommand(request: Body, nameOf: (imageId: string) => string): string {
  const body = (request.create ?? request) as Body;
  const image = at(body, "image_id");
  const words = ["nano", "instance", "create", quote(String(body.name ?? body.name_pattern ?? "") || "NAME")];
  if (image) words.push("--image", quote(nameOf(String(image))));
  for (const [path, option, write] of OPTIONS) {
    const value = at(body, path);
    if (value !== undefined && value !== "") words.push(option, quote(write(value)));
  }
  for (const tag of (body.tags as string[] | undefined) ?? []) words.push("--tag", quote(tag));
  for (const [path, wanted, option] of FLAGS) if (at(body, path) === wanted) words.push(option);
  return words.join(" ");
}

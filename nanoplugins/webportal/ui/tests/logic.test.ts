import { describe, expect, it } from "vitest";
import { decide, gatherFor, retryDelay } from "../src/api/events";
import { asProblem, problemOfBody, problemOfOperation } from "../src/api/problem";
import type { Instance, InstanceAction } from "../src/api/types";
import { fieldError } from "../src/api/problem";
import { SpeedMeter } from "../src/api/upload";
import { judge, primaryAction, runEach, whyNot } from "../src/logic/bulk";
import { createCommand, quote } from "../src/logic/cli";
import { csvLine, formatAgo, formatBytes, formatElapsed, formatPercent, share } from "../src/logic/format";
import { apiQuery, readList, writeList } from "../src/logic/listing";
import { flattenTree } from "../src/logic/tree";
import { expandNames } from "../src/logic/names";
import { bodyOf, changesOf, draftOf, parseTags, type FieldSpec } from "../src/logic/draft";
import { BLANK, FRESH, requestOf, withValues } from "../src/logic/instance-form";

function instance(name: string, refusals: Partial<Record<InstanceAction, string>>): Instance {
  const actions: InstanceAction[] = ["start", "stop", "resume", "power_off", "delete"];
  return {
    id: name,
    name,
    allowed_actions: actions.map((action) => ({
      name: action,
      allowed: !(action in refusals),
      why_not: refusals[action] ?? null,
    })),
  } as Instance;
}

describe("formats", () => {
  it.each([
    [0, "0 B"],
    [1023, "1,023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [10 * 1024 ** 3, "10 GiB"],
    [190.4 * 1024 ** 2, "190 MiB"],
    [5 * 1024 ** 5, "5 PiB"],
  ])("shows %d bytes as %s", (bytes, text) => expect(formatBytes(bytes, "en")).toBe(text));

  it("shows what is not known as a dash", () => {
    expect(formatBytes(null, "en")).toBe("–");
    expect(formatPercent(undefined, "en")).toBe("–");
    expect(formatAgo(null, "en")).toBe("–");
  });

  it("takes per cent of a hundred", () => expect(formatPercent(12.34, "en")).toBe("12.3%"));

  it("tells times relative to now, in the language", () => {
    const now = Date.parse("2026-01-01T12:00:00Z");
    expect(formatAgo("2026-01-01T11:57:00Z", "en", now)).toBe("3 minutes ago");
    expect(formatAgo("2026-01-03T12:00:00Z", "en", now)).toBe("in 2 days");
    expect(formatAgo("2026-01-01T11:57:00Z", "zh-CN", now)).toBe("3分钟前");
  });

  it("shows elapsed time", () => {
    expect(formatElapsed(7_900)).toBe("0:07");
    expect(formatElapsed(3_849_000)).toBe("1:04:09");
    expect(formatElapsed(-5)).toBe("0:00");
  });

  it("keeps shares between 0 and 100", () => {
    expect(share(1, 0)).toBe(0);
    expect(share(3, 2)).toBe(100);
    expect(share(1, 4)).toBe(25);
  });

  it("makes CSV that no spreadsheet runs", () => {
    expect(csvLine(["a", 'b"c', "=1+1"])).toBe(`"a","b""c","'=1+1"`);
  });
});

describe("a list's state in the URL", () => {
  const fields = ["state.observed", "node"];
  const defaults = { sort: "name", size: 25 };

  it("survives the way there and back", () => {
    const before = new URLSearchParams("q=web&state.observed=running,stopped&sort=-name&page=3&size=50");
    const state = readList(before, "name", 25, fields);
    expect(state.filters).toEqual([
      { field: "state.observed", value: "running" },
      { field: "state.observed", value: "stopped" },
    ]);
    expect(writeList(state, before, defaults).toString()).toBe(
      "q=web&state.observed=running%2Cstopped&sort=-name&size=50&page=3",
    );
  });

  it("leaves defaults out and keeps the tab", () => {
    const before = new URLSearchParams("tab=cells");
    const state = readList(before, "name", 25, fields);
    expect(writeList(state, before, defaults).toString()).toBe("tab=cells");
  });

  it("ignores fields that are no filters, bad pages and bad sizes", () => {
    const state = readList(new URLSearchParams("evil=1&page=-2&size=7"), "name", 25, fields);
    expect(state).toEqual({ q: "", filters: [], sort: "name", page: 1, size: 25 });
  });

  it("asks the API for a page", () => {
    const state = readList(new URLSearchParams("q=a b&node=cell-1"), "name", 25, fields);
    expect(apiQuery(state).toString()).toBe("limit=25&sort=name&q=a+b&node=cell-1");
  });
});

describe("a selection", () => {
  const runs = instance("runs", { start: "it is running" });
  const stands = instance("stands", { stop: "it is stopped", resume: "it is stopped", power_off: "it is stopped" });
  const lost = instance("lost", { start: "its node is unreachable" });

  it("is split by what the API says", () => {
    const { possible, refused } = judge([runs, stands, lost, runs], "start");
    expect(possible).toEqual([stands]);
    expect(refused).toEqual([
      { whyNot: "it is running", instances: [runs, runs] },
      { whyNot: "its node is unreachable", instances: [lost] },
    ]);
  });

  it("refuses an action that the API does not name", () => expect(whyNot(runs, "pause")).toBe(""));

  it("offers what makes sense now", () => {
    expect(primaryAction(stands)).toBe("start");
    expect(primaryAction(instance("x", { start: "no", resume: "no" }))).toBe("stop");
  });

  it("works on a bounded number at once, and all of them", async () => {
    let now = 0;
    let most = 0;
    const done: number[] = [];
    await runEach([1, 2, 3, 4, 5], 2, async (item) => {
      most = Math.max(most, ++now);
      await Promise.resolve();
      done.push(item);
      now -= 1;
    });
    expect(done.sort()).toEqual([1, 2, 3, 4, 5]);
    expect(most).toBe(2);
  });
});

describe("names and commands", () => {
  it("counts names up", () => {
    expect(expandNames("web", 1)).toEqual(["web"]);
    expect(expandNames("web", 2)).toEqual(["web-1", "web-2"]);
    expect(expandNames("w{n}-x", 2)).toEqual(["w1-x", "w2-x"]);
  });

  it("reads tags", () => expect(parseTags("a, b  a,,c")).toEqual(["a", "b", "c"]));

  it("quotes for the shell", () => {
    expect(quote("web-1")).toBe("web-1");
    expect(quote("it's; rm")).toBe(`'it'\\''s; rm'`);
    expect(quote("")).toBe("''");
  });

  it("writes the command for a form", () => {
    const body = { name: "web", image_id: "i", vcpus: 2, memory_bytes: 1024 ** 3, tags: ["a b"], is_started: false };
    expect(createCommand("/instances", body, () => "debian")).toBe(
      "nano instance create web --image debian --vcpus 2 --memory 1024MiB --tag 'a b' --no-start",
    );
    const more = { name: "web", image_id: "i", has_tpm: true };
    expect(createCommand("/instances", more, () => "debian")).toBe(
      `nano api POST /instances --data '{"name":"web","image_id":"i","has_tpm":true}'`,
    );
  });
});

describe("forms", () => {
  const fields: FieldSpec[] = [
    { key: "name" },
    { key: "size_bytes", kind: "number", unit: 1024 ** 3 },
    { key: "tags", kind: "tags" },
    { key: "is_kept", kind: "check" },
    { key: "qos.disk_iops", kind: "number" },
    { key: "qos.cpu_weight", kind: "number" },
    { key: "pool_id", kind: "choice" },
  ];
  const item = { name: "a", size_bytes: 2 * 1024 ** 3, tags: ["x"], is_kept: false, qos: { disk_iops: 5, cpu_weight: 7 }, pool_id: "p" };

  it("say only what was filled in", () => {
    expect(bodyOf(fields, { name: " web ", size_bytes: "1.5", "qos.disk_iops": "9", is_kept: true })).toEqual({
      name: "web",
      size_bytes: 1.5 * 1024 ** 3,
      qos: { disk_iops: 9 },
      is_kept: true,
    });
  });

  it("say only what changed, what was emptied as empty, and inner objects whole", () => {
    const before = draftOf(fields, item);
    expect(changesOf(fields, before, before)).toEqual({});
    expect(changesOf(fields, { ...before, name: "", pool_id: "", "qos.disk_iops": "" }, before)).toEqual({
      name: "",
      pool_id: null,
      qos: { disk_iops: null, cpu_weight: 7 },
    });
  });

  it("make the smallest request for an instance", () => {
    const draft = { ...FRESH, name: "web", image_id: "i" };
    const size = { vcpus: 1, memory_bytes: 1024 ** 3 };
    expect(requestOf(draft)).toEqual({ path: "/instances", body: { name: "web", image_id: "i", ...size } });
    expect(requestOf({ ...draft, image_id: BLANK }).body).toEqual({ name: "web", ...size });
    expect(requestOf({ ...draft, count: "3" })).toEqual({
      path: "/instance-batches",
      body: { create: { name_pattern: "web-{n}", count: 3, image_id: "i", ...size } },
    });
  });

  it("take a template's values", () => {
    const values = { vcpus: 4, cloud_init: { username: "ann" }, disks: [{ size_bytes: 1024 ** 3, is_kept: true }] };
    const { body } = requestOf({ ...withValues({ ...FRESH, name: "a" }, values), nics: [] });
    expect(body).toMatchObject({ ...values, nics: [] });
  });

  it("find a field's complaint however its path is written", () => {
    const error = problemOfBody(400, { errors: { "create.disks.1.size_bytes": ["too small"] } }, null);
    expect(fieldError(error, "disks[1].size_bytes")).toBe("too small");
    expect(fieldError(error, "disks[0].size_bytes")).toBeUndefined();
  });
});

describe("trees", () => {
  it("put children below their parents, and orphans at the top", () => {
    const item = (id: string, parent_id: string | null) => ({ id, parent_id });
    const flat = flattenTree([item("c", "b"), item("a", null), item("b", "a"), item("d", "gone")]);
    expect(flat.map(({ item: { id }, depth }) => `${depth}${id}`)).toEqual(["0a", "1b", "2c", "0d"]);
  });
});

describe("events", () => {
  it("reads everything again after a gap or a reconnect, not at the first hello", () => {
    expect(decide({ type: "hello", cursor: "1" }, false)).toBe("nothing");
    expect(decide({ type: "hello", cursor: "1" }, true)).toBe("all");
    expect(decide({ type: "reset" }, true)).toBe("all");
    expect(decide({ type: "event", topic: "instances" }, true)).toBe("topic");
    expect(decide({ type: "ping" }, true)).toBe("nothing");
  });

  it("tells the first change soon, and many at most once a second", () => {
    expect(gatherFor(60_000)).toBe(150);
    expect(gatherFor(200)).toBe(800);
  });

  it("waits longer and longer, with an end", () => {
    expect([0, 1, 2].map(retryDelay)).toEqual([500, 1000, 2000]);
    expect(retryDelay(50)).toBe(15_000);
  });
});

describe("problems", () => {
  it("keeps the API's words", () => {
    const body = { code: "wrong_state", detail: "it is running", request_id: "r1", errors: { name: ["bad"] } };
    expect(problemOfBody(409, body, null).details).toMatchObject(body);
  });

  it("finds a code where there is no body", () => {
    expect(problemOfBody(502, null, "r2").details).toMatchObject({ code: "unavailable", request_id: "r2" });
    expect(problemOfBody(418, "tea", null).details.code).toBe("internal");
  });

  it("knows a dead connection", () => expect(asProblem(new TypeError("fetch")).details.code).toBe("offline"));

  it("reads an operation's error", () => {
    const problem = problemOfOperation({ code: "internal", message: "m", details: { incident: "i1" } });
    expect(problem.details).toMatchObject({ code: "internal", detail: "m", incident: "i1" });
  });
});

describe("upload speed", () => {
  it("is that of the last seconds", () => {
    const meter = new SpeedMeter(1_000);
    expect(meter.add(0, 0)).toBe(0);
    expect(meter.add(1_000, 500)).toBe(500);
    meter.add(2_000, 500);
    expect(meter.add(3_000, 500)).toBe(0);
  });
});

// What an action would do to a selection, as the API's `allowed_actions` say it.
import type { Instance, InstanceAction } from "../api/types";

export interface Judgement {
  possible: Instance[];
  refused: { whyNot: string; instances: Instance[] }[];
}

export function whyNot(instance: Instance, action: InstanceAction): string | null {
  const answer = instance.allowed_actions.find((allowed) => allowed.name === action);
  if (answer?.allowed) return null;
  return answer?.why_not ?? "";
}

export function judge(selection: readonly Instance[], action: InstanceAction): Judgement {
  const possible: Instance[] = [];
  const refused = new Map<string, Instance[]>();
  for (const instance of selection) {
    const reason = whyNot(instance, action);
    if (reason === null) possible.push(instance);
    else refused.set(reason, [...(refused.get(reason) ?? []), instance]);
  }
  return { possible, refused: [...refused].map(([reason, instances]) => ({ whyNot: reason, instances })) };
}

/** The action that a person most likely wants in the state the instance is in. */
export function primaryAction(instance: Instance): InstanceAction {
  const wanted: InstanceAction[] = ["start", "resume", "restore", "stop", "power_off"];
  return wanted.find((action) => whyNot(instance, action) === null) ?? "start";
}

/** Run `work` over `items`, at most `width` at once; one failure stops nobody else. */
export async function runEach<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(width, queue.length) }, worker));
}

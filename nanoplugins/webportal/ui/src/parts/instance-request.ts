// The request behind an action on an instance.
import { del, post } from "../api/client";
import type { InstanceAction, Operation } from "../api/types";

export function askFor(id: string, action: InstanceAction): Promise<Operation> {
  if (action === "delete") return del<Operation>(`/instances/${id}`);
  return post<Operation>(`/instances/${id}/actions/${action}`);
}

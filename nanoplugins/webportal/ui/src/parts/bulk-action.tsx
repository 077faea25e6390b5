// One action on one or many instances. Several are asked for together; the answer tells how each went.
import Alert from "@cloudscape-design/components/alert";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../api/client";
import { asProblem, problemOfOperation } from "../api/problem";
import type { Instance, InstanceAction, Operation, OperationError } from "../api/types";
import { problemOf, waitFor } from "../app/flashes";
import { useFormat } from "../app/format";
import { judge } from "../logic/bulk";
import { askFor } from "./instance-request";
import { Many, type Tell } from "./many";

interface BulkActionProps {
  action: InstanceAction;
  selection: Instance[];
  onClose(hasChanged: boolean): void;
}

export function BulkAction({ action, selection, onClose }: BulkActionProps) {
  const { t } = useTranslation("instances");
  // The selection as it was when the dialog opened: its states change while it works.
  const [judgement] = useState(() => judge(selection, action));
  const { possible } = judgement;
  return (
    <Many
      title={t("bulk.title", { action: t(`actions.${action}`), count: possible.length })}
      label={t(`actions.${action}`)}
      items={possible}
      word={mustType(possible, action)}
      before={
        <>
          <Forecast action={action} {...judgement} />
          {action === "delete" && <DisksThatGo instances={possible} />}
        </>
      }
      run={(instances, tell) => (instances.length === 1 ? one(instances, action, tell) : batch(instances, action, tell))}
      onClose={onClose}
    />
  );
}

async function one([instance]: Instance[], action: InstanceAction, tell: Tell): Promise<void> {
  if (!instance) return;
  try {
    tell(instance.id, problemOf(await waitFor(await askFor(instance.id, action))) ?? "done");
  } catch (error) {
    tell(instance.id, asProblem(error));
  }
}

interface BatchItem {
  id: string;
  error?: OperationError | null;
}

async function batch(instances: Instance[], action: InstanceAction, tell: Tell): Promise<void> {
  try {
    const asked = await post<Operation>("/instance-batches", { action, instance_ids: instances.map(({ id }) => id) });
    const ended = await waitFor(asked);
    const items = (ended.result?.items ?? []) as BatchItem[];
    const whole = ended.state === "succeeded" ? null : problemOf(ended);
    for (const { id } of instances) {
      const item = items.find((other) => other.id === id);
      if (item) tell(id, item.error ? problemOfOperation(item.error) : "done");
      else tell(id, whole ?? "done");
    }
  } catch (error) {
    instances.forEach(({ id }) => tell(id, asProblem(error)));
  }
}

/** Deleting what runs or is protected wants a name; of several, their number. */
function mustType(instances: Instance[], action: InstanceAction): string | null {
  if (action !== "delete") return null;
  if (!instances.some((instance) => instance.protected || instance.state.observed === "running")) return null;
  return instances.length === 1 ? (instances[0]?.name ?? null) : String(instances.length);
}

function Forecast({ action, possible, refused }: { action: InstanceAction } & ReturnType<typeof judge>) {
  const { t } = useTranslation("instances");
  const names = (instances: Instance[]) => {
    const first = instances.slice(0, 8).map((instance) => instance.name).join(", ");
    return instances.length > 8 ? t("bulk.andMore", { names: first, count: instances.length - 8 }) : first;
  };
  return (
    <SpaceBetween size="xs">
      {possible.length > 0 && (
        <StatusIndicator wrapText>
          {t("bulk.possible", { count: possible.length, action: t(`actions.${action}`), names: names(possible) })}
        </StatusIndicator>
      )}
      {refused.map((group) => (
        <StatusIndicator key={group.whyNot} type="stopped" wrapText>
          {t("bulk.refused", { count: group.instances.length, reason: group.whyNot, names: names(group.instances) })}
        </StatusIndicator>
      ))}
    </SpaceBetween>
  );
}

function DisksThatGo({ instances }: { instances: Instance[] }) {
  const { t } = useTranslation("instances");
  const format = useFormat();
  const disks = instances.flatMap((instance) => instance.disks.map((disk) => ({ disk, instance })));
  const list = (isKept: boolean) => (
    <ul>
      {disks
        .filter(({ disk }) => disk.is_kept === isKept)
        .map(({ disk, instance }) => (
          <li key={disk.id}>{t("delete.disk", { name: instance.name, size: format.bytes(disk.size_bytes), id: disk.id })}</li>
        ))}
    </ul>
  );
  return (
    <>
      <Alert type="warning" header={t("delete.disks")}>
        {list(false)}
      </Alert>
      {disks.some(({ disk }) => disk.is_kept) && (
        <Alert type="info" header={t("delete.kept")}>
          {list(true)}
        </Alert>
      )}
    </>
  );
}

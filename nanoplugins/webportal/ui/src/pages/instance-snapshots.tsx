// An instance's snapshots as a tree, and the schedules that make more of them.
import Badge from "@cloudscape-design/components/badge";
import Button from "@cloudscape-design/components/button";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { del, patch, post } from "../api/client";
import { snapshots, snapshotSchedules } from "../api/queries";
import type { Instance, Snapshot, SnapshotSchedule } from "../api/types";
import { useFollow } from "../app/follow";
import { useFormat } from "../app/format";
import { whyNot } from "../logic/bulk";
import { flattenTree, type Branch } from "../logic/tree";
import { useColumns } from "../parts/columns";
import { Confirm } from "../parts/confirm";
import { Ago, Empty } from "../parts/facts";
import type { Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { SimpleTable } from "../parts/simple-table";

const HOUR_SECONDS = 3600;

export function SnapshotsTab({ instance }: { instance: Instance }) {
  return (
    <SpaceBetween size="l">
      <Snapshots instance={instance} />
      <Schedules instance={instance} />
    </SpaceBetween>
  );
}

function Snapshots({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["snapshots", "common"]);
  const column = useColumns();
  const { follow, refresh } = useFollow();
  const query = useQuery(snapshots(instance.id));
  const [isCreating, setCreating] = useState(false);
  const [asked, setAsked] = useState<{ kind: "restore" | "delete"; snapshot: Snapshot } | null>(null);
  const refusal = whyNot(instance, "snapshot");
  const base = `/instances/${instance.id}/snapshots`;
  const create = (
    <Button disabled={refusal !== null} disabledReason={refusal || t("common:notPossible")} onClick={() => setCreating(true)}>
      {t("create")}
    </Button>
  );
  const confirm = async () => {
    if (!asked) return;
    const path = `${base}/${asked.snapshot.id}`;
    const answer = await (asked.kind === "delete" ? del(path) : post(`${path}/actions/restore`));
    void follow(t(`${asked.kind}Title`, { name: asked.snapshot.name }), answer).then(refresh);
  };
  return (
    <>
      <SimpleTable<Branch<Snapshot>>
        title={t("title")}
        description={t("text")}
        items={query.data && flattenTree(query.data.items)}
        keyOf={({ item }) => item.id}
        nameOf={({ item }) => item.name}
        error={query.error}
        onRetry={() => void query.refetch()}
        actions={create}
        empty={<Empty title={t("empty")} text={t("text")} cli={`nano snapshot create ${instance.name} NAME`} action={create} />}
        columns={[
          column.cell("name", t("common:name"), (branch) => <NameCell {...branch} />, { shown: "always" }),
          column.cell("created", t("common:created"), ({ item }) => <Ago iso={item.created_at} />, { shown: "always", width: 110 }),
          column.text("consistent", t("consistent"), ({ item }) => t(item.is_consistent ? "consistentYes" : "consistentNo")),
          column.bytes("size", t("common:size"), ({ item }) => item.size_bytes),
          column.text("description", t("common:description"), ({ item }) => item.description),
        ]}
        rowActions={[
          { id: "restore", text: t("restore"), run: ({ item }) => setAsked({ kind: "restore", snapshot: item }) },
          { id: "delete", text: t("common:delete"), run: ({ item }) => setAsked({ kind: "delete", snapshot: item }) },
        ]}
      />
      {isCreating && <CreateSnapshot instance={instance} onClose={() => setCreating(false)} />}
      {asked && (
        <Confirm
          title={t(`${asked.kind}Title`, { name: asked.snapshot.name })}
          actionLabel={asked.kind === "delete" ? t("common:delete") : t("restore")}
          typeName={asked.kind === "restore" && instance.state.observed === "running" ? instance.name : undefined}
          onConfirm={confirm}
          onClose={() => setAsked(null)}
        >
          {t(`${asked.kind}Text`)}
        </Confirm>
      )}
    </>
  );
}

function NameCell({ item, depth }: Branch<Snapshot>) {
  const { t } = useTranslation("snapshots");
  return (
    <span className="nano-branch" style={{ paddingInlineStart: `${depth * 18}px` }}>
      {depth > 0 && <span aria-hidden>└ </span>}
      {item.name} {item.is_current && <Badge color="green">{t("current")}</Badge>}{" "}
      {item.schedule_id && <Badge>{t("scheduled")}</Badge>}
    </span>
  );
}

export function CreateSnapshot({ instance, onClose }: { instance: Instance; onClose(): void }) {
  const { t } = useTranslation(["snapshots", "common"]);
  return (
    <FormDialog
      title={t("createTitle", { name: instance.name })}
      submit={t("create")}
      note={t("createText")}
      fields={[
        { key: "name", label: t("common:name") },
        { key: "description", label: t("common:description") },
      ]}
      send={(body) => post(`/instances/${instance.id}/snapshots`, body)}
      onClose={onClose}
    />
  );
}

function Schedules({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["snapshots", "common"]);
  const column = useColumns();
  const format = useFormat();
  const query = useQuery(snapshotSchedules(instance.id));
  const [open, setOpen] = useState<SnapshotSchedule | "create" | null>(null);
  const [doomed, setDoomed] = useState<SnapshotSchedule | null>(null);
  const fields: Field[] = [
    { key: "name", label: t("common:name") },
    { key: "interval_seconds", kind: "number", unit: HOUR_SECONDS, label: t("schedules.interval") },
    { key: "keep", kind: "number", label: t("schedules.keep"), hint: t("schedules.keepHint") },
  ];
  const editing = open === "create" ? null : open;
  return (
    <>
      <SimpleTable<SnapshotSchedule>
        title={t("schedules.title")}
        description={t("schedules.text")}
        items={query.data?.items}
        nameOf={(row) => row.name}
        error={query.error}
        onRetry={() => void query.refetch()}
        actions={<Button onClick={() => setOpen("create")}>{t("schedules.create")}</Button>}
        empty={<Empty title={t("schedules.empty")} text={t("schedules.text")} />}
        columns={[
          column.text("name", t("common:name"), (row) => row.name, { shown: "always" }),
          column.text("interval", t("schedules.every"), (row) => t("schedules.hours", { count: row.interval_seconds / HOUR_SECONDS }), { shown: "always" }),
          column.text("keep", t("schedules.keep"), (row) => format.number(row.keep)),
          column.cell("next", t("schedules.next"), (row) => <Ago iso={row.next_run_at} />),
          column.cell("last", t("schedules.last"), (row) => row.last_error ?? <Ago iso={row.last_run_at} />),
        ]}
        rowActions={[
          { id: "edit", text: t("common:edit"), run: setOpen },
          { id: "delete", text: t("common:delete"), run: setDoomed },
        ]}
      />
      {open && (
        <FormDialog
          title={t(editing ? "schedules.edit" : "schedules.create")}
          submit={t(editing ? "common:save" : "common:create")}
          fields={fields}
          item={editing ?? { name: "daily", interval_seconds: 24 * HOUR_SECONDS, keep: 7 }}
          isEdit={editing !== null}
          send={(body) =>
            editing ? patch(`/snapshot-schedules/${editing.id}`, body) : post("/snapshot-schedules", { ...body, instance_id: instance.id })
          }
          onClose={() => setOpen(null)}
        />
      )}
      {doomed && (
        <Confirm
          title={t("schedules.deleteTitle", { name: doomed.name })}
          actionLabel={t("common:delete")}
          onConfirm={async () => {
            await del(`/snapshot-schedules/${doomed.id}`);
            await query.refetch();
          }}
          onClose={() => setDoomed(null)}
        >
          {t("schedules.deleteText")}
        </Confirm>
      )}
    </>
  );
}

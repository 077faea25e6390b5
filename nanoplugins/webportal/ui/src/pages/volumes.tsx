import Badge from "@cloudscape-design/components/badge";
import Button from "@cloudscape-design/components/button";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../api/client";
import { computePools, instances, nodes, storagePools } from "../api/queries";
import type { Volume } from "../api/types";
import { GIB } from "../logic/format";
import { useColumns } from "../parts/columns";
import { StateBadge } from "../parts/facts";
import { optionsOf, type Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { NounPage } from "../parts/noun-page";
import { AppLink } from "../parts/page";

export function VolumesPage() {
  const { t } = useTranslation(["storage", "shell", "common"]);
  const column = useColumns();
  const pools = useQuery(computePools());
  const cells = useQuery(nodes());
  const stores = useQuery(storagePools());
  const [attaching, setAttaching] = useState<Volume | null>(null);
  const automatic = t("common:automatic");
  const size: Field = { key: "size_bytes", kind: "number", unit: GIB, label: t("volumes.size") };
  const name: Field = { key: "name", label: t("common:name") };
  const choice = (key: string, label: string, items: { id: string; name: string }[] | undefined): Field => ({
    key,
    kind: "choice",
    label,
    options: optionsOf(items, automatic),
    placeholder: automatic,
  });
  return (
    <NounPage<Volume>
      topic="volumes"
      permission="volume"
      cli="nano volume create NAME --size 10G"
      texts={{
        title: t("shell:volumes"),
        text: t("volumes.text"),
        create: t("volumes.create"),
        empty: t("volumes.empty"),
        edit: t("volumes.edit"),
        deleteTitle: (count) => t("volumes.deleteTitle", { count }),
        deleteText: t("volumes.deleteText"),
      }}
      columns={[
        column.name(),
        column.bytes<Volume>("size", t("common:size"), (row) => row.size_bytes, { sort: "size_bytes", shown: "always" }),
        column.bytes<Volume>("used", t("common:used"), (row) => row.used_bytes),
        column.cell<Volume>("state", t("common:state"), (row) => <StateBadge state={row.state} />),
        column.cell<Volume>("instance", t("common:instance"), (row) => <Owner volume={row} />, { shown: "always" }),
        column.cell<Volume>("node", t("common:node"), (row) => (row.node_id ? <AppLink to={`/nodes/${row.node_id}`}>{row.node}</AppLink> : "–")),
        column.text<Volume>("pool", t("common:storagePool"), (row) => row.storage_pool),
        column.created(),
        column.id(),
      ]}
      filters={[
        { field: "instance", label: t("common:instance") },
        { field: "node", label: t("common:node") },
        { field: "storage_pool", label: t("common:storagePool") },
      ]}
      createFields={[
        name,
        size,
        choice("compute_pool_id", t("common:computePool"), pools.data?.items),
        choice("node_id", t("common:node"), cells.data?.items.filter((node) => node.roles.includes("cell"))),
        choice("storage_pool_id", t("common:storagePool"), stores.data?.items),
      ]}
      fresh={{ size_bytes: 10 * GIB }}
      editFields={[name, size]}
      actions={(selected) => {
        const [only] = selected;
        const reason = selected.length !== 1 ? t("common:selectOne") : only?.instance_id ? t("volumes.isAttached", { name: only.instance }) : undefined;
        return (
          <Button disabled={reason !== undefined} disabledReason={reason} onClick={() => setAttaching(only ?? null)}>
            {t("volumes.attach")}
          </Button>
        );
      }}
    >
      {attaching && <Attach volume={attaching} onClose={() => setAttaching(null)} />}
    </NounPage>
  );
}

function Owner({ volume }: { volume: Volume }) {
  const { t } = useTranslation("storage");
  if (!volume.instance_id) return <>{t("volumes.free")}</>;
  return (
    <>
      <AppLink to={`/instances/${volume.instance_id}?tab=disks`}>{volume.instance ?? volume.instance_id.slice(0, 8)}</AppLink>{" "}
      {volume.is_boot && <Badge color="blue">{t("volumes.boot")}</Badge>}
    </>
  );
}

function Attach({ volume, onClose }: { volume: Volume; onClose(): void }) {
  const { t } = useTranslation(["storage", "common"]);
  const here = useQuery(instances(`limit=1000&node_id=${volume.node_id}&sort=name`));
  return (
    <FormDialog
      title={t("volumes.attachTitle", { name: volume.name })}
      submit={t("volumes.attach")}
      note={t("volumes.attachText", { node: volume.node })}
      fields={[{ key: "instance_id", kind: "choice", label: t("common:instance"), options: optionsOf(here.data?.items), isLoading: here.isPending }]}
      send={(body) => post(`/instances/${String(body.instance_id ?? "")}/disks`, { volume_id: volume.id })}
      onClose={onClose}
    />
  );
}

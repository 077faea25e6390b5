import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import type { TFunction } from "i18next";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { computePools, diskImages, nodes } from "../api/queries";
import type { Instance, InstanceAction } from "../api/types";
import { useFormat } from "../app/format";
import { useSession } from "../app/session";
import { judge } from "../logic/bulk";
import { BulkAction } from "../parts/bulk-action";
import { Addresses, Ago, Empty, StateBadge, Tags } from "../parts/facts";
import { AppLink, Page } from "../parts/page";
import { ResourceTable, type Column, type FilterField } from "../parts/resource-table";

const STATES = ["running", "stopped", "paused", "suspended", "creating", "stopping", "crashed", "missing", "unknown"];
const MORE: InstanceAction[] = ["reboot", "pause", "resume", "suspend", "restore", "power_off", "reset"];

export function InstancesPage() {
  const { t } = useTranslation(["instances", "shell"]);
  return (
    <Page title={t("shell:instances")}>
      <InstanceTable />
    </Page>
  );
}

/** Also a node's and a compute pool's list, then with `fixed` in the URL's place. */
export function InstanceTable() {
  const { t } = useTranslation(["instances", "common"]);
  const columns = useInstanceColumns();
  const filters = useInstanceFilters();
  const [selected, setSelected] = useState<Instance[]>([]);
  const [action, setAction] = useState<InstanceAction | null>(null);
  return (
    <>
      <ResourceTable<Instance>
        topic="instances"
        title={t("list")}
        columns={columns}
        filters={filters}
        defaultSort="name"
        selection={{ items: selected, change: setSelected }}
        empty={<EmptyInstances />}
        actions={<Actions selected={selected} onAction={setAction} />}
      />
      {action && (
        <BulkAction
          action={action}
          selection={selected}
          onClose={(hasChanged) => {
            setAction(null);
            if (hasChanged) setSelected([]);
          }}
        />
      )}
    </>
  );
}

function EmptyInstances() {
  const { t } = useTranslation("instances");
  const navigate = useNavigate();
  return (
    <Empty
      title={t("empty.title")}
      text={t("empty.text")}
      cli="nano instance create NAME --image IMAGE"
      action={
        <Button variant="primary" onClick={() => void navigate("/instances/create")}>
          {t("create.action")}
        </Button>
      }
    />
  );
}

function Actions({ selected, onAction }: { selected: Instance[]; onAction(action: InstanceAction): void }) {
  const { t } = useTranslation("instances");
  const navigate = useNavigate();
  const { can } = useSession();
  const refusal = (action: InstanceAction) => {
    if (selected.length === 0) return t("selectFirst");
    const { possible, refused } = judge(selected, action);
    return possible.length > 0 ? undefined : (refused[0]?.whyNot || t("notPossible"));
  };
  const button = (action: InstanceAction) => (
    <Button
      key={action}
      disabled={refusal(action) !== undefined}
      disabledReason={refusal(action)}
      onClick={() => onAction(action)}
    >
      {t(`actions.${action}`)}
    </Button>
  );
  const item = (action: InstanceAction) => ({
    id: action,
    text: t(`actions.${action}`),
    disabled: refusal(action) !== undefined,
    disabledReason: refusal(action),
  });
  return (
    <SpaceBetween direction="horizontal" size="xs">
      {button("start")}
      {button("stop")}
      <ButtonDropdown
        items={[...MORE.map(item), { id: "danger", text: "", items: [item("delete")] }]}
        onItemClick={({ detail }) => onAction(detail.id as InstanceAction)}
      >
        {t("more")}
      </ButtonDropdown>
      <Button
        variant="primary"
        disabled={!can("instance.create")}
        disabledReason={t("noPermission")}
        onClick={() => void navigate("/instances/create")}
      >
        {t("create.action")}
      </Button>
    </SpaceBetween>
  );
}

export function CpuLine({ instance }: { instance: Instance }) {
  const format = useFormat();
  if (!instance.usage || instance.state.observed !== "running") return <>–</>;
  const percent = Math.min(100, instance.usage.cpu_percent);
  return (
    <>
      <span className="nano-meter">
        <i style={{ width: `${percent}%` }} />
      </span>
      {format.percent(percent, 0)}
    </>
  );
}

const addresses = (instance: Instance) => instance.nics.flatMap((nic) => nic.addresses);
const diskBytes = (instance: Instance) => instance.disks.reduce((sum, disk) => sum + disk.size_bytes, 0);

function useInstanceColumns(): Column<Instance>[] {
  const { t } = useTranslation(["instances", "common"]);
  const format = useFormat();
  return useMemo(
    () => [...identityColumns(t), ...sizeColumns(t, format), ...placeColumns(t), ...otherColumns(t)],
    // The texts and formats change with the language only.
    [format.language],
  );
}

type Texts = TFunction<["instances", "common"]>;

function identityColumns(t: Texts): Column<Instance>[] {
  return [
    {
      id: "name",
      header: t("common:name"),
      cell: (row) => <AppLink to={`/instances/${row.id}`}>{row.name}</AppLink>,
      text: (row) => row.name,
      sort: "name",
      shown: "always",
    },
    {
      id: "state",
      header: t("common:state"),
      cell: (row) => <StateBadge state={row.state.observed} />,
      text: (row) => row.state.observed,
      sort: "state.observed",
      shown: "always",
      width: 110,
    },
    {
      id: "addresses",
      header: t("addresses"),
      cell: (row) => <Addresses addresses={addresses(row)} />,
      text: (row) => addresses(row).join(" "),
      shown: "always",
      width: 140,
    },
    { id: "cpu", header: t("common:cpu"), cell: (row) => <CpuLine instance={row} />, width: 120 },
  ];
}

function sizeColumns(t: Texts, format: ReturnType<typeof useFormat>): Column<Instance>[] {
  return [
    { id: "vcpus", header: t("vcpus"), cell: (row) => row.vcpus, text: (row) => String(row.vcpus), sort: "vcpus" },
    {
      id: "memory",
      header: t("common:memory"),
      cell: (row) => format.bytes(row.memory_bytes),
      text: (row) => String(row.memory_bytes),
      sort: "memory_bytes",
    },
    {
      id: "disk",
      header: t("common:disk"),
      cell: (row) => format.bytes(diskBytes(row)),
      text: (row) => String(diskBytes(row)),
    },
  ];
}

function placeColumns(t: Texts): Column<Instance>[] {
  return [
    {
      id: "node",
      header: t("common:node"),
      cell: (row) => (row.node_id ? <AppLink to={`/nodes/${row.node_id}`}>{row.node ?? row.node_id}</AppLink> : "–"),
      text: (row) => row.node ?? "",
      sort: "node",
    },
    {
      id: "pool",
      header: t("common:computePool"),
      cell: (row) => <AppLink to={`/compute-pools/${row.compute_pool_id}`}>{row.compute_pool}</AppLink>,
      text: (row) => row.compute_pool,
      sort: "compute_pool",
    },
  ];
}

function otherColumns(t: Texts): Column<Instance>[] {
  return [
    { id: "tags", header: t("common:tags"), cell: (row) => <Tags tags={row.tags} />, text: (row) => row.tags.join(" ") },
    {
      id: "created",
      header: t("common:created"),
      cell: (row) => <Ago iso={row.created_at} />,
      text: (row) => row.created_at,
      sort: "created_at",
    },
    {
      id: "image",
      header: t("common:diskImage"),
      cell: (row) => row.image?.name ?? "–",
      text: (row) => row.image?.name ?? "",
      shown: "never",
    },
    { id: "owner", header: t("owner"), cell: (row) => row.owner || "–", text: (row) => row.owner, shown: "never" },
    { id: "id", header: t("common:id"), cell: (row) => row.id, text: (row) => row.id, shown: "never" },
  ];
}

function useInstanceFilters(): FilterField[] {
  const { t } = useTranslation(["instances", "common"]);
  const pools = useQuery(computePools());
  const cells = useQuery(nodes());
  const images = useQuery(diskImages());
  const names = (items: { name: string }[] | undefined) =>
    (items ?? []).map((item) => ({ value: item.name, label: item.name }));
  return [
    {
      field: "state.observed",
      label: t("common:state"),
      options: STATES.map((value) => ({ value, label: t(`common:states.${value}`) })),
    },
    { field: "node", label: t("common:node"), options: names(cells.data?.items) },
    { field: "compute_pool", label: t("common:computePool"), options: names(pools.data?.items) },
    { field: "image.name", label: t("common:diskImage"), options: names(images.data?.items) },
    { field: "tags", label: t("common:tags") },
    { field: "owner", label: t("owner") },
  ];
}

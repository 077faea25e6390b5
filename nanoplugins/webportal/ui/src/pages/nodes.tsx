import Button from "@cloudscape-design/components/button";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Node } from "../api/types";
import { useFormat } from "../app/format";
import { useSession } from "../app/session";
import { share } from "../logic/format";
import { Ago, Empty, StateBadge } from "../parts/facts";
import { InviteDialog } from "../parts/invite-dialog";
import { AppLink, Page } from "../parts/page";
import { ResourceTable, type Column } from "../parts/resource-table";

export function NodesPage() {
  const { t } = useTranslation(["nodes", "shell", "common"]);
  const { can } = useSession();
  const [isInviting, setInviting] = useState(false);
  const columns = useNodeColumns();
  const invite = (
    <Button
      variant="primary"
      disabled={!can("node.invite")}
      disabledReason={t("common:noPermission")}
      onClick={() => setInviting(true)}
    >
      {t("invite.action")}
    </Button>
  );
  const state = ["online", "unreachable", "revoked"].map((value) => ({ value, label: t(`common:states.${value}`) }));
  return (
    <Page title={t("shell:nodes")}>
      <ResourceTable<Node>
        topic="nodes"
        title={t("list")}
        columns={columns}
        filters={[
          { field: "state", label: t("common:state"), options: state },
          { field: "compute_pool", label: t("common:computePool") },
          { field: "zone", label: t("zone") },
        ]}
        defaultSort="name"
        actions={invite}
        empty={<Empty title={t("empty.title")} text={t("empty.text")} cli="nano invite" action={invite} />}
      />
      {isInviting && <InviteDialog onClose={() => setInviting(false)} />}
    </Page>
  );
}

export function useNodeColumns(): Column<Node>[] {
  const { t } = useTranslation(["nodes", "common"]);
  const format = useFormat();
  const part = (used: number, all: number) =>
    all > 0 ? t("common:usedOf", { used: format.bytes(used), total: format.bytes(all) }) : "–";
  const roles = (row: Node) => row.roles.map((role) => t(`roles.${role}`, { defaultValue: role })).join(", ");
  return [
    {
      id: "name",
      header: t("common:name"),
      cell: (row) => <AppLink to={`/nodes/${row.id}`}>{row.name}</AppLink>,
      text: (row) => row.name,
      sort: "name",
      shown: "always",
    },
    { id: "state", header: t("common:state"), cell: (row) => <NodeState node={row} />, text: (row) => row.state, sort: "state", shown: "always" },
    { id: "roles", header: t("rolesTitle"), cell: roles, text: (row) => row.roles.join(" ") },
    {
      id: "instances",
      header: t("instances"),
      cell: (row) => (
        <AppLink to={`/instances?node=${encodeURIComponent(row.name)}`}>
          {t("common:partOf", { part: row.instances_running, all: row.instances })}
        </AppLink>
      ),
      text: (row) => String(row.instances),
      sort: "instances",
      shown: "always",
    },
    { id: "pool", header: t("common:computePool"), cell: (row) => row.compute_pool ?? "–", text: (row) => row.compute_pool ?? "" },
    { id: "cpu", header: t("common:cpu"), cell: (row) => <CpuMeter node={row} />, text: (row) => String(row.usage.cpu_percent) },
    {
      id: "memory",
      header: t("common:memory"),
      cell: (row) => part(row.usage.memory_used_bytes, row.usage.memory_bytes),
      text: (row) => String(row.usage.memory_bytes),
    },
    {
      id: "disk",
      header: t("common:disk"),
      cell: (row) => part(row.usage.disk_used_bytes, row.usage.disk_bytes),
      text: (row) => String(row.usage.disk_bytes),
    },
    { id: "accelerator", header: t("accelerator"), cell: (row) => row.accelerator ?? "–", text: (row) => row.accelerator ?? "" },
    { id: "zone", header: t("zone"), cell: (row) => row.zone, text: (row) => row.zone, shown: "never" },
    { id: "version", header: t("version"), cell: (row) => row.version, text: (row) => row.version, shown: "never" },
    { id: "since", header: t("since"), cell: (row) => <Ago iso={row.since} />, text: (row) => row.since ?? "", shown: "never" },
  ];
}

export function NodeState({ node }: { node: Node }) {
  const { t } = useTranslation("nodes");
  if (node.state === "online" && !node.is_enabled) return <StateBadge state="disabled" />;
  return (
    <span title={node.reason ?? undefined}>
      <StateBadge state={node.state} />
      {node.is_self && ` (${t("self")})`}
    </span>
  );
}

function CpuMeter({ node }: { node: Node }) {
  const format = useFormat();
  if (!node.roles.includes("cell")) return <>–</>;
  const percent = share(node.usage.cpu_percent, 100);
  return (
    <>
      <span className="nano-meter">
        <i style={{ width: `${percent}%` }} />
      </span>
      {format.percent(percent, 0)}
    </>
  );
}

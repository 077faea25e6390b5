import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams } from "react-router";
import { del, post } from "../api/client";
import { instances, node as nodeQuery, nodePlugins } from "../api/queries";
import type { Node, PluginHealth } from "../api/types";
import { useFollow } from "../app/follow";
import { useColumns } from "../parts/columns";
import { Confirm } from "../parts/confirm";
import { UsageDonuts } from "../parts/donut";
import { Ago, Copy, StateBadge } from "../parts/facts";
import { MetricsCharts } from "../parts/metrics-charts";
import { AppLink, Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
import { SimpleTable } from "../parts/simple-table";
import { SmallInstanceTable } from "../parts/small-instance-table";
import { UrlTabs } from "../parts/url-tabs";
import { NodeState } from "./nodes";

export function NodePage() {
  const { t } = useTranslation(["nodes", "shell", "common"]);
  const { id = "" } = useParams();
  const query = useQuery(nodeQuery(id));
  const crumbs = [{ text: t("shell:nodes"), href: "/nodes" }];
  const node = query.data;
  if (!node) {
    return (
      <Page title={t("common:node")} crumbs={crumbs}>
        {query.isError ? <ProblemAlert error={query.error} onRetry={() => void query.refetch()} /> : <Spinner />}
      </Page>
    );
  }
  return (
    <Page title={node.name} crumbs={crumbs} description={<Facts node={node} />} actions={<Actions node={node} />}>
      <UrlTabs
        tabs={[
          { id: "instances", label: t("instances"), content: <Instances node={node} /> },
          { id: "use", label: t("common:use"), content: <Use node={node} /> },
          { id: "plugins", label: t("shell:plugins"), content: <Plugins node={node} /> },
          { id: "properties", label: t("properties"), content: <Properties node={node} /> },
        ]}
      />
    </Page>
  );
}

function Facts({ node }: { node: Node }) {
  return (
    <SpaceBetween direction="horizontal" size="m">
      <NodeState node={node} />
      <Copy text={node.id} />
      {node.reason && <span>{node.reason}</span>}
    </SpaceBetween>
  );
}

function Instances({ node }: { node: Node }) {
  const query = useQuery(instances(`limit=1000&node_id=${node.id}&sort=name`));
  return <SmallInstanceTable query={query} allHref={`/instances?node=${encodeURIComponent(node.name)}`} />;
}

function Use({ node }: { node: Node }) {
  const { t } = useTranslation("common");
  return (
    <SpaceBetween size="l">
      <Container header={<Header variant="h2">{t("capacity")}</Header>}>
        <UsageDonuts usage={node.usage} />
      </Container>
      <MetricsCharts subject={`nodes/${node.id}`} memoryBytes={node.usage.memory_bytes} diskBytes={node.usage.disk_bytes} />
    </SpaceBetween>
  );
}

function Properties({ node }: { node: Node }) {
  const { t } = useTranslation(["nodes", "common"]);
  const pool = node.compute_pool_id && (
    <AppLink to={`/compute-pools/${node.compute_pool_id}`}>{node.compute_pool ?? node.compute_pool_id}</AppLink>
  );
  return (
    <Container header={<Header variant="h2">{t("properties")}</Header>}>
      <KeyValuePairs
        columns={4}
        items={[
          { label: t("rolesTitle"), value: node.roles.map((role) => t(`roles.${role}`, { defaultValue: role })).join(", ") },
          { label: t("zone"), value: node.zone },
          { label: t("version"), value: node.version || "–" },
          { label: t("since"), value: <Ago iso={node.since} /> },
          { label: t("common:computePool"), value: pool || "–" },
          { label: t("accelerator"), value: node.accelerator ?? "–" },
          { label: t("acceleratorReason"), value: node.accelerator_reason ?? "–" },
          { label: t("enabled"), value: t(node.is_enabled ? "common:yes" : "common:no") },
        ]}
      />
    </Container>
  );
}

function Plugins({ node }: { node: Node }) {
  const { t } = useTranslation(["nodes", "shell", "common"]);
  const column = useColumns();
  const query = useQuery(nodePlugins(node.id));
  return (
    <SimpleTable<PluginHealth>
      title={t("shell:plugins")}
      items={query.data?.items}
      keyOf={(row) => row.name}
      nameOf={(row) => row.name}
      error={query.error}
      onRetry={() => void query.refetch()}
      empty={t("noPlugins")}
      columns={[
        column.text("name", t("common:name"), (row) => row.name, { shown: "always" }),
        column.cell("state", t("common:state"), (row) => <StateBadge state={row.state} />, { shown: "always", width: 110 }),
        column.cell("health", t("health"), (row) => <Checks plugin={row} />, { shown: "always", width: 115 }),
        column.text("summary", t("summary"), (row) => row.summary),
        column.text("version", t("version"), (row) => row.version),
      ]}
    />
  );
}

function Checks({ plugin }: { plugin: PluginHealth }) {
  const bad = plugin.checks.filter((check) => !check.is_ok);
  if (plugin.reason) return <StatusIndicator type={plugin.state === "failed" ? "error" : "info"} wrapText>{plugin.reason}</StatusIndicator>;
  if (plugin.checks.length === 0) return <>–</>;
  if (bad.length === 0) return <StatusIndicator>{plugin.checks.map((check) => check.name).join(", ")}</StatusIndicator>;
  return (
    <>
      {bad.map((check) => (
        <StatusIndicator key={check.name} type="error" wrapText>
          {[check.name, check.reason].filter(Boolean).join(": ")}
        </StatusIndicator>
      ))}
    </>
  );
}

type Dialog = "restart" | "stop" | "revoke" | null;

function Actions({ node }: { node: Node }) {
  const { t } = useTranslation(["nodes", "common"]);
  const navigate = useNavigate();
  const { ask, refresh } = useFollow();
  const [open, setOpen] = useState<Dialog>(null);
  const act = (action: string) => post(`/nodes/${node.id}/actions/${action}`);
  const toggle = node.is_enabled ? "disable" : "enable";
  const isOff = node.state !== "online";
  const confirm = async () => {
    if (open === "revoke") {
      await del(`/nodes/${node.id}`);
      await refresh();
      void navigate("/nodes");
    } else if (open) {
      const answer = await act(open);
      void ask(t(`${open}.title`, { name: node.name }), () => Promise.resolve(answer));
    }
  };
  return (
    <>
      <SpaceBetween direction="horizontal" size="xs">
        {node.roles.includes("cell") && (
          <Button onClick={() => void ask(t(`${toggle}Named`, { name: node.name }), () => act(toggle))}>{t(toggle)}</Button>
        )}
        <ButtonDropdown
          expandToViewport
          items={[
            { id: "restart", text: t("restart.action"), disabled: isOff, disabledReason: t("isOff") },
            { id: "stop", text: t("stop.action"), disabled: isOff, disabledReason: t("isOff") },
            { id: "revoke", text: t("revoke.action"), disabled: node.is_self, disabledReason: t("revoke.self") },
          ]}
          onItemClick={({ detail }) => setOpen(detail.id as Dialog)}
        >
          {t("common:actions")}
        </ButtonDropdown>
      </SpaceBetween>
      {open && (
        <Confirm
          title={t(`${open}.title`, { name: node.name })}
          actionLabel={t(`${open}.action`)}
          typeName={open === "restart" ? undefined : node.name}
          onConfirm={confirm}
          onClose={() => setOpen(null)}
        >
          {t(`${open}.text`)}
        </Confirm>
      )}
    </>
  );
}

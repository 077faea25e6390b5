import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams } from "react-router";
import { del, post } from "../api/client";
import { instances, node as nodeQuery } from "../api/queries";
import type { Node } from "../api/types";
import { Confirm } from "../parts/confirm";
import { UsageDonuts } from "../parts/donut";
import { Ago, Copy } from "../parts/facts";
import { MetricsCharts } from "../parts/metrics-charts";
import { AppLink, Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
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
      <MetricsCharts topic="nodes" id={node.id} memoryBytes={node.usage.memory_bytes} diskBytes={node.usage.disk_bytes} />
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

function Actions({ node }: { node: Node }) {
  const { t } = useTranslation(["nodes", "common"]);
  const navigate = useNavigate();
  const client = useQueryClient();
  const [isRevoking, setRevoking] = useState(false);
  const toggle = useMutation({
    mutationFn: () => post<Node>(`/nodes/${node.id}/actions/${node.is_enabled ? "disable" : "enable"}`),
    onSuccess: () => client.invalidateQueries({ queryKey: ["nodes"] }),
  });
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <ProblemAlert error={toggle.error} />
      {node.roles.includes("cell") && (
        <Button loading={toggle.isPending} onClick={() => toggle.mutate()}>
          {t(node.is_enabled ? "disable" : "enable")}
        </Button>
      )}
      <Button disabled={node.is_self} disabledReason={t("revoke.self")} onClick={() => setRevoking(true)}>
        {t("revoke.action")}
      </Button>
      {isRevoking && (
        <Confirm
          title={t("revoke.title", { name: node.name })}
          actionLabel={t("revoke.action")}
          typeName={node.name}
          onConfirm={async () => {
            await del(`/nodes/${node.id}`);
            await client.invalidateQueries({ queryKey: ["nodes"] });
            void navigate("/nodes");
          }}
          onClose={() => setRevoking(false)}
        >
          {t("revoke.text")}
        </Confirm>
      )}
    </SpaceBetween>
  );
}

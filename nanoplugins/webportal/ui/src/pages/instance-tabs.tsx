import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { operations } from "../api/queries";
import type { Instance } from "../api/types";
import { useFormat } from "../app/format";
import { Ago, Tags } from "../parts/facts";
import { MetricsCharts } from "../parts/metrics-charts";
import { AppLink } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
import { OperationsTable } from "./operations";

export function OverviewTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation("instances");
  return (
    <SpaceBetween size="l">
      <Container header={<Header variant="h2">{t("properties")}</Header>}>
        <Properties instance={instance} />
      </Container>
      <MetricsCharts subject={`instances/${instance.id}`} memoryBytes={instance.memory_bytes} />
      <OperationsTab instance={instance} count={5} />
    </SpaceBetween>
  );
}

function Properties({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["instances", "common"]);
  const format = useFormat();
  const yes = (value: boolean) => t(value ? "common:yes" : "common:no");
  const disks = instance.disks.reduce((sum, disk) => sum + disk.size_bytes, 0);
  const place = instance.node_id ? (
    <AppLink to={`/nodes/${instance.node_id}`}>{instance.node ?? instance.node_id}</AppLink>
  ) : (
    "–"
  );
  const pool = <AppLink to={`/compute-pools/${instance.compute_pool_id}`}>{instance.compute_pool}</AppLink>;
  return (
    <KeyValuePairs
      columns={4}
      items={[
        { label: t("size"), value: t("sizeText", { vcpus: instance.vcpus, memory: format.bytes(instance.memory_bytes), disk: format.bytes(disks) }) },
        { label: t("common:diskImage"), value: instance.image?.name ?? "–" },
        { label: t("common:node"), value: place },
        { label: t("common:computePool"), value: pool },
        { label: t("placement"), value: instance.placement_reason ?? "–" },
        { label: t("common:created"), value: <Ago iso={instance.created_at} /> },
        { label: t("started"), value: <Ago iso={instance.started_at} /> },
        { label: t("owner"), value: instance.owner || "–" },
        { label: t("firmware"), value: t(`firmwares.${instance.firmware}`) + (instance.has_tpm ? `, ${t("tpm")}` : "") },
        { label: t("common:template"), value: instance.template ?? "–" },
        { label: t("autostart"), value: yes(instance.autostart) },
        { label: t("protected"), value: yes(instance.protected) },
        { label: t("common:tags"), value: <Tags tags={instance.tags} /> },
        { label: t("common:description"), value: instance.description || "–" },
      ]}
    />
  );
}

export function OperationsTab({ instance, count = 100 }: { instance: Instance; count?: number }) {
  const { t } = useTranslation("instances");
  const query = useQuery(operations(`limit=${count}&resources.id=${instance.id}`));
  return (
    <Container header={<Header variant="h2">{t("tabs.operations")}</Header>}>
      <ColumnLayout columns={1}>
        {query.isError && <ProblemAlert error={query.error} />}
        <OperationsTable items={query.data?.items ?? []} />
      </ColumnLayout>
    </Container>
  );
}

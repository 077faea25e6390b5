// The instances of one node or compute pool.
import Header from "@cloudscape-design/components/header";
import Table from "@cloudscape-design/components/table";
import type { UseQueryResult } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import type { Instance, Page } from "../api/types";
import { useFormat } from "../app/format";
import { CpuLine } from "../pages/instances";
import { Addresses, Empty, StateBadge } from "./facts";
import { useIsNarrow } from "./narrow";
import { AppLink } from "./page";
import { ProblemAlert } from "./problem";

export function SmallInstanceTable({ query, allHref }: { query: UseQueryResult<Page<Instance>>; allHref: string }) {
  const { t } = useTranslation(["instances", "common", "shell"]);
  const format = useFormat();
  const isNarrow = useIsNarrow();
  if (query.isError && !query.data) return <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />;
  return (
    <Table
      items={query.data?.items ?? []}
      trackBy="id"
      loading={query.isPending}
      loadingText={t("common:loading")}
      visibleColumns={isNarrow ? ["name", "state", "addresses"] : undefined}
      ariaLabels={{ tableLabel: t("list") }}
      empty={<Empty title={t("empty.title")} text={t("empty.text")} />}
      header={
        <Header
          variant="h2"
          counter={query.data && `(${query.data.total})`}
          actions={<AppLink to={allHref}>{t("showInList")}</AppLink>}
        >
          {t("shell:instances")}
        </Header>
      }
      columnDefinitions={[
        { id: "name", header: t("common:name"), cell: (row) => <AppLink to={`/instances/${row.id}`}>{row.name}</AppLink>, isRowHeader: true },
        { id: "state", header: t("common:state"), cell: (row) => <StateBadge state={row.state.observed} /> },
        { id: "addresses", header: t("addresses"), cell: (row) => <Addresses addresses={row.nics.flatMap((nic) => nic.addresses)} /> },
        { id: "cpu", header: t("common:cpu"), cell: (row) => <CpuLine instance={row} /> },
        { id: "vcpus", header: t("vcpus"), cell: (row) => row.vcpus },
        { id: "memory", header: t("common:memory"), cell: (row) => format.bytes(row.memory_bytes) },
        { id: "node", header: t("common:node"), cell: (row) => row.node ?? "–" },
      ]}
    />
  );
}

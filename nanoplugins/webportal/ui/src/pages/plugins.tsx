import Box from "@cloudscape-design/components/box";
import Header from "@cloudscape-design/components/header";
import Table from "@cloudscape-design/components/table";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { plugins } from "../api/queries";
import { StateBadge } from "../parts/facts";
import { Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
import { useIsNarrow } from "../parts/narrow";

export function PluginsPage() {
  const { t } = useTranslation(["admin", "shell", "common"]);
  const query = useQuery(plugins());
  const isNarrow = useIsNarrow();
  const visible = isNarrow ? ["name", "reason", "state"] : undefined;
  return (
    <Page title={t("shell:plugins")} description={t("plugins.text")}>
      {query.isError ? (
        <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />
      ) : (
        <Table
          items={query.data?.items ?? []}
          trackBy="name"
          loading={query.isPending}
          loadingText={t("common:loading")}
          wrapLines
          visibleColumns={visible}
          ariaLabels={{ tableLabel: t("shell:plugins") }}
          header={
            <Header variant="h2" counter={query.data && `(${query.data.items.length})`}>
              {t("plugins.list")}
            </Header>
          }
          columnDefinitions={[
            { id: "name", header: t("common:name"), cell: (row) => row.name, isRowHeader: true },
            { id: "state", header: t("common:state"), cell: (row) => <StateBadge state={row.state} />, minWidth: 110 },
            {
              id: "reason",
              header: t("plugins.reason"),
              cell: (row) => (row.reason ? <Box color="text-status-error">{row.reason}</Box> : "–"),
            },
            { id: "summary", header: t("plugins.summary"), cell: (row) => row.summary },
            { id: "version", header: t("plugins.version"), cell: (row) => row.version },
            { id: "distribution", header: t("plugins.distribution"), cell: (row) => row.distribution },
            { id: "failures", header: t("plugins.failures"), cell: (row) => row.failures },
          ]}
        />
      )}
    </Page>
  );
}

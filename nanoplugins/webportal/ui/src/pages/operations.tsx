import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import ProgressBar from "@cloudscape-design/components/progress-bar";
import Table from "@cloudscape-design/components/table";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { operations } from "../api/queries";
import { problemOfOperation } from "../api/problem";
import type { Operation } from "../api/types";
import { isRunning, Resources, useKindText } from "../app/operations-drawer";
import { formatElapsed } from "../logic/format";
import { Ago, StateBadge } from "../parts/facts";
import { useIsNarrow } from "../parts/narrow";
import { Page } from "../parts/page";
import { ProblemAlert, ProblemText } from "../parts/problem";

export function OperationsPage() {
  const { t } = useTranslation("operations");
  const query = useQuery(operations("limit=200"));
  return (
    <Page title={t("title")}>
      {query.isError && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      <Container
        header={
          <Header variant="h2" counter={query.data && `(${query.data.total})`}>
            {t("all")}
          </Header>
        }
      >
        <OperationsTable items={query.data?.items ?? []} />
      </Container>
    </Page>
  );
}

function elapsed(operation: Operation): string {
  if (!operation.started_at || !operation.ended_at) return "–";
  return formatElapsed(Date.parse(operation.ended_at) - Date.parse(operation.started_at));
}

export function OperationsTable({ items, isShort = false }: { items: Operation[]; isShort?: boolean }) {
  const { t } = useTranslation(["operations", "common"]);
  const kindText = useKindText();
  const state = (operation: Operation) => {
    if (!isRunning(operation)) return <StateBadge state={operation.state} />;
    const { done, total } = operation.progress;
    return <ProgressBar ariaLabel={kindText(operation)} value={total > 0 ? Math.round((done / total) * 100) : 0} />;
  };
  const outcome = (operation: Operation) =>
    operation.error ? <ProblemText problem={problemOfOperation(operation.error)} /> : "–";
  const isNarrow = useIsNarrow();
  const narrow = [
    {
      id: "what",
      header: t("what"),
      cell: (row: Operation) => (
        <>
          <div>{kindText(row)}</div>
          <Resources operation={row} />
        </>
      ),
      isRowHeader: true,
    },
    {
      id: "state",
      header: t("common:state"),
      cell: (row: Operation) => (
        <>
          <div>{state(row)}</div>
          <Ago iso={row.created_at} />
          {row.error && outcome(row)}
        </>
      ),
      minWidth: 140,
    },
  ];
  const wide = [
    { id: "who", header: t("requestedBy"), cell: (row: Operation) => row.requested_by || "–" },
    { id: "took", header: t("took"), cell: elapsed },
    { id: "error", header: t("outcome"), cell: outcome },
  ];
  return (
    <Table
      variant="embedded"
      items={items}
      trackBy="id"
      wrapLines
      ariaLabels={{ tableLabel: t("title") }}
      empty={t("none")}
      columnDefinitions={
        isNarrow
          ? narrow
          : [
              { id: "kind", header: t("what"), cell: kindText, isRowHeader: true },
              { id: "object", header: t("object"), cell: (row) => <Resources operation={row} /> },
              { id: "state", header: t("common:state"), cell: state, minWidth: 135 },
              { id: "when", header: t("when"), cell: (row) => <Ago iso={row.created_at} /> },
              ...(isShort ? [] : wide),
            ]
      }
    />
  );
}

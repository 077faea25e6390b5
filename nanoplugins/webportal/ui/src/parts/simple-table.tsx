// A list that is read at once: the parts of one thing, or a short collection. Each row may have a menu.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import Header from "@cloudscape-design/components/header";
import Pagination from "@cloudscape-design/components/pagination";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import { useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useIsNarrow } from "./narrow";
import { ProblemAlert } from "./problem";
import type { Column } from "./resource-table";

export interface RowAction<T> {
  id: string;
  text: string;
  /** Why it is not possible now; `null` when it is. */
  whyNot?(row: T): string | null;
  isHidden?(row: T): boolean;
  run(row: T): void;
}

interface SimpleTableProps<T> {
  title: string;
  columns: Column<T>[];
  items: readonly T[] | undefined;
  keyOf?(row: T): string;
  nameOf(row: T): string;
  error?: unknown;
  onRetry?(): void;
  empty: ReactNode;
  actions?: ReactNode;
  description?: ReactNode;
  rowActions?: RowAction<T>[];
}

const PAGE = 50;

export function SimpleTable<T>(props: SimpleTableProps<T>) {
  const { t } = useTranslation();
  const isNarrow = useIsNarrow();
  const [page, setPage] = useState(1);
  const { columns, items, rowActions = [] } = props;
  if (props.error && !items) return <ProblemAlert error={props.error} onRetry={props.onRetry} />;
  const shown = columns.filter((column) => column.shown === "always" || (!isNarrow && column.shown !== "never"));
  const pages = Math.max(1, Math.ceil((items?.length ?? 0) / PAGE));
  const current = Math.min(page, pages);
  return (
    <Table<T>
      items={(items ?? []).slice((current - 1) * PAGE, current * PAGE)}
      trackBy={(row) => (props.keyOf ?? ((other: T) => (other as { id: string }).id))(row)}
      loading={items === undefined}
      loadingText={t("loading")}
      wrapLines
      ariaLabels={{ tableLabel: props.title }}
      empty={props.empty}
      pagination={
        pages > 1 && (
          <Pagination currentPageIndex={current} pagesCount={pages} onChange={({ detail }) => setPage(detail.currentPageIndex)} />
        )
      }
      header={
        <Header variant="h2" counter={items && `(${items.length})`} actions={props.actions} description={props.description}>
          {props.title}
        </Header>
      }
      columnDefinitions={[
        ...shown.map((column, index) => ({
          id: column.id,
          header: column.header,
          cell: column.cell,
          minWidth: column.width,
          isRowHeader: index === 0,
        })),
        ...(rowActions.length > 0
          ? [{ id: "actions", header: t("actions"), width: rowActions.length > 1 ? 90 : undefined, cell: (row: T) => <RowMenu row={row} actions={rowActions} name={props.nameOf(row)} /> }]
          : []),
      ]}
    />
  );
}

function RowMenu<T>({ row, actions, name }: { row: T; actions: RowAction<T>[]; name: string }) {
  const { t } = useTranslation();
  const possible = actions.filter((action) => !action.isHidden?.(row));
  const [only] = possible;
  if (!only) return <>–</>;
  if (possible.length === 1) {
    const reason = only.whyNot?.(row) ?? null;
    return (
      <span className="nano-whole">
        <Button
          variant="inline-link"
          ariaLabel={`${only.text}: ${name}`}
          disabled={reason !== null}
          disabledReason={reason ?? undefined}
          onClick={() => only.run(row)}
        >
          {only.text}
        </Button>
      </span>
    );
  }
  return (
    <ButtonDropdown
      variant="inline-icon"
      expandToViewport
      ariaLabel={t("actionsOf", { name })}
      items={possible.map((action) => {
        const reason = action.whyNot?.(row) ?? null;
        return { id: action.id, text: action.text, disabled: reason !== null, disabledReason: reason ?? undefined };
      })}
      onItemClick={({ detail }) => possible.find((action) => action.id === detail.id)?.run(row)}
    />
  );
}

/** Buttons beside each other in a header. */
export function Actions({ children }: { children: ReactNode }) {
  return (
    <SpaceBetween direction="horizontal" size="xs">
      {children}
    </SpaceBetween>
  );
}

export function Muted({ children }: { children: ReactNode }) {
  return <Box color="text-body-secondary">{children}</Box>;
}

// A server-side list: property filter with free text, sort, pages, columns, CSV, selection.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import CollectionPreferences from "@cloudscape-design/components/collection-preferences";
import Header from "@cloudscape-design/components/header";
import Pagination from "@cloudscape-design/components/pagination";
import PropertyFilter, { type PropertyFilterProps } from "@cloudscape-design/components/property-filter";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table, { type TableProps } from "@cloudscape-design/components/table";
import { memo, useMemo, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { setPreferences, usePreferences } from "../app/preferences";
import { csvLine } from "../logic/format";
import { PAGE_SIZES, type ListState } from "../logic/listing";
import { readAll, useListState, useServerPage } from "./list-state";
import { ProblemAlert } from "./problem";
import { useIsNarrow } from "./narrow";

export interface Column<T> {
  id: string;
  header: string;
  cell(item: T): ReactNode;
  /** Plain text for CSV; without it the column is not exported. */
  text?(item: T): string;
  sort?: string;
  /** Shown before anybody chose columns: everywhere, on wide screens only, or never. */
  shown?: "always" | "wide" | "never";
  width?: number;
}

export interface FilterField {
  field: string;
  label: string;
  options?: { value: string; label: string }[];
}

interface ResourceTableProps<T> {
  topic: string;
  title: string;
  columns: Column<T>[];
  filters: FilterField[];
  defaultSort: string;
  empty: ReactNode;
  actions?: ReactNode;
  selection?: { items: T[]; change(items: T[]): void };
  variant?: TableProps.Variant;
}

export function ResourceTable<T extends { id: string; name: string }>(props: ResourceTableProps<T>) {
  const { t } = useTranslation();
  const fields = props.filters.map((filter) => filter.field);
  const [state, change] = useListState(props.defaultSort, fields);
  const page = useServerPage<T>(props.topic, state);
  const columns = useColumns(props.topic, props.columns);
  const isFiltered = state.q !== "" || state.filters.length > 0;
  const total = page.data?.total ?? 0;
  const items = page.data?.items ?? [];
  const sorted = props.columns.find((column) => column.sort === state.sort.replace(/^-/, ""));
  if (page.isError && !page.data) return <ProblemAlert error={page.error} onRetry={() => void page.refetch()} />;
  return (
    <Table<T>
      variant={props.variant ?? "container"}
      trackBy="id"
      items={items}
      loading={page.isPending}
      loadingText={t("loading")}
      columnDefinitions={props.columns.map(definition)}
      columnDisplay={columns.display}
      wrapLines={false}
      selectionType={props.selection ? "multi" : undefined}
      selectedItems={items.filter((item) => props.selection?.items.some((other) => other.id === item.id))}
      onSelectionChange={({ detail }) => props.selection?.change(detail.selectedItems)}
      sortingColumn={sorted ? definition(sorted) : undefined}
      sortingDescending={state.sort.startsWith("-")}
      onSortingChange={({ detail }) =>
        change({ sort: (detail.isDescending ? "-" : "") + (detail.sortingColumn.sortingField ?? "") })
      }
      ariaLabels={selectionLabels(t, props.title)}
      empty={isFiltered ? <NoMatch onClear={() => change({ q: "", filters: [] })} /> : props.empty}
      header={
        <Header
          variant="h2"
          counter={page.data && `(${props.selection?.items.length ? `${props.selection.items.length}/` : ""}${total})`}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              {props.actions}
              <Button
                iconName="download"
                ariaLabel={t("csv")}
                onClick={() => void download(props.topic, props.columns, state)}
              />
            </SpaceBetween>
          }
        >
          {props.title}
        </Header>
      }
      filter={<Filter filters={props.filters} state={state} change={change} total={total} />}
      pagination={
        <Pagination
          currentPageIndex={state.page}
          pagesCount={Math.max(1, Math.ceil(total / state.size))}
          onChange={({ detail }) => change({ page: detail.currentPageIndex })}
        />
      }
      preferences={<Columns columns={props.columns} topic={props.topic} size={state.size} change={change} />}
    />
  );
}

function definition<T>(column: Column<T>): TableProps.ColumnDefinition<T> {
  return {
    id: column.id,
    header: column.header,
    cell: (item) => <Cell column={column as Column<unknown>} item={item} />,
    sortingField: column.sort,
    minWidth: column.width,
    isRowHeader: column.id === "name",
  };
}

/** Rows that did not change keep their identity, and so need no new drawing while others change. */
const Cell = memo(function Cell({ column, item }: { column: Column<unknown>; item: unknown }) {
  return <>{column.cell(item)}</>;
});

function selectionLabels<T extends { name: string }>(
  t: (key: string) => string,
  title: string,
): TableProps.AriaLabels<T> {
  return {
    tableLabel: title,
    selectionGroupLabel: t("select"),
    allItemsSelectionLabel: () => t("selectAll"),
    itemSelectionLabel: (_, item) => `${t("select")}: ${item.name}`,
  };
}

function NoMatch({ onClear }: { onClear(): void }) {
  const { t } = useTranslation();
  return (
    <Box textAlign="center" padding="l">
      <SpaceBetween size="s" alignItems="center">
        <Box variant="h3">{t("noMatch")}</Box>
        <Button onClick={onClear}>{t("clearFilter")}</Button>
      </SpaceBetween>
    </Box>
  );
}

interface FilterProps {
  filters: FilterField[];
  state: ListState;
  change(part: Partial<ListState>): void;
  total: number;
}

function Filter({ filters, state, change, total }: FilterProps) {
  const { t } = useTranslation();
  const tokens: PropertyFilterProps.Token[] = [
    ...state.filters.map(({ field, value }) => ({ propertyKey: field, operator: "=", value })),
    ...state.q.split(/\s+/).filter(Boolean).map((value) => ({ operator: ":", value })),
  ];
  const apply = ({ detail }: { detail: PropertyFilterProps.Query }) => {
    const free = detail.tokens.filter((token) => !token.propertyKey);
    const exact = detail.tokens.flatMap((token) =>
      token.propertyKey ? [{ field: token.propertyKey, value: String(token.value) }] : [],
    );
    change({ q: free.map((token) => String(token.value)).join(" "), filters: exact });
  };
  return (
    <PropertyFilter
      query={{ tokens, operation: "and" }}
      onChange={apply}
      hideOperations
      filteringProperties={filters.map((filter) => ({
        key: filter.field,
        propertyLabel: filter.label,
        groupValuesLabel: filter.label,
        operators: ["="],
      }))}
      filteringOptions={filters.flatMap((filter) =>
        (filter.options ?? []).map((option) => ({ propertyKey: filter.field, ...option })),
      )}
      filteringAriaLabel={t("filter")}
      filteringPlaceholder={t("filter")}
      countText={tokens.length > 0 ? t("matches", { count: total }) : ""}
    />
  );
}

function useColumns<T>(topic: string, columns: Column<T>[]) {
  const chosen = usePreferences().columns[topic];
  const isNarrow = useIsNarrow();
  return useMemo(() => {
    const byDefault = (column: Column<T>) =>
      column.shown === "always" || (column.shown !== "never" && !isNarrow);
    const isVisible = (column: Column<T>) => (chosen && !isNarrow ? chosen.includes(column.id) : byDefault(column));
    return { display: columns.map((column) => ({ id: column.id, visible: isVisible(column) })) };
  }, [columns, chosen, isNarrow]);
}

interface ColumnsProps<T> {
  columns: Column<T>[];
  topic: string;
  size: number;
  change(part: Partial<ListState>): void;
}

function Columns<T>({ columns, topic, size, change }: ColumnsProps<T>) {
  const { t } = useTranslation();
  const { display } = useColumns(topic, columns);
  const all = usePreferences().columns;
  return (
    <CollectionPreferences
      title={t("preferences")}
      confirmLabel={t("confirm")}
      cancelLabel={t("cancel")}
      preferences={{ pageSize: size, contentDisplay: display }}
      pageSizePreference={{
        title: t("pageSize"),
        options: PAGE_SIZES.map((value) => ({ value, label: t("rows", { count: value }) })),
      }}
      contentDisplayPreference={{
        title: t("columns"),
        options: columns.map((column) => ({
          id: column.id,
          label: column.header,
          alwaysVisible: column.id === "name",
        })),
      }}
      onConfirm={({ detail }) => {
        const visible = (detail.contentDisplay ?? []).filter((item) => item.visible).map((item) => item.id);
        setPreferences({ columns: { ...all, [topic]: visible } });
        change({ size: detail.pageSize ?? size });
      }}
    />
  );
}

async function download<T>(topic: string, columns: Column<T>[], state: ListState): Promise<void> {
  const rows = await readAll<T>(topic, state);
  const exported = columns.filter((column) => column.text);
  const lines = [csvLine(exported.map((column) => column.header))];
  for (const row of rows) lines.push(csvLine(exported.map((column) => column.text?.(row) ?? "")));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  link.download = `${topic}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}

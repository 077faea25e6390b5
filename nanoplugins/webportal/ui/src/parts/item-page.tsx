// The page of one thing: waits for it, says when it is gone, then shows what `children` make of it.
import Spinner from "@cloudscape-design/components/spinner";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Page } from "./page";
import { ProblemAlert } from "./problem";
import { UrlTabs, type Tab } from "./url-tabs";

interface ItemPageProps<T> {
  query: UseQueryResult<T>;
  /** What it is, shown until its name is known. */
  noun: string;
  list: { text: string; href: string };
  description?(item: T): ReactNode;
  actions?(item: T): ReactNode;
  tabs?(item: T): Tab[];
  children?(item: T): ReactNode;
}

export function ItemPage<T extends { name: string }>(props: ItemPageProps<T>) {
  const { query, noun, list } = props;
  const item = query.data;
  if (!item) {
    return (
      <Page title={noun} crumbs={[list]}>
        {query.isError ? <ProblemAlert error={query.error} onRetry={() => void query.refetch()} /> : <Spinner />}
      </Page>
    );
  }
  return (
    <Page title={item.name} crumbs={[list]} description={props.description?.(item)} actions={props.actions?.(item)}>
      {props.children?.(item)}
      {props.tabs && <UrlTabs tabs={props.tabs(item)} />}
    </Page>
  );
}

// Columns that many lists share.
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useFormat } from "../app/format";
import { Ago, Copy, Tags } from "./facts";
import { AppLink } from "./page";
import type { Column } from "./resource-table";

export function useColumns() {
  const { t } = useTranslation();
  const format = useFormat();
  return {
    /** With a page of its own behind the name, or without. */
    name: <T extends { id: string; name: string }>(topic?: string): Column<T> => ({
      id: "name",
      header: t("name"),
      cell: (row) => (topic ? <AppLink to={`/${topic}/${row.id}`}>{row.name || row.id.slice(0, 8)}</AppLink> : row.name),
      text: (row) => row.name,
      sort: "name",
      shown: "always",
    }),
    text: <T,>(id: string, header: string, text: (row: T) => string | null | undefined, more: Partial<Column<T>> = {}): Column<T> => ({
      id,
      header,
      cell: (row) => text(row) || "–",
      text: (row) => text(row) ?? "",
      ...more,
    }),
    bytes: <T,>(id: string, header: string, bytes: (row: T) => number | null | undefined, more: Partial<Column<T>> = {}): Column<T> => ({
      id,
      header,
      cell: (row) => format.bytes(bytes(row)),
      text: (row) => String(bytes(row) ?? ""),
      ...more,
    }),
    cell: <T,>(id: string, header: string, cell: (row: T) => ReactNode, more: Partial<Column<T>> = {}): Column<T> => ({ id, header, cell, ...more }),
    description: <T extends { description: string }>(): Column<T> => ({
      id: "description",
      header: t("description"),
      cell: (row) => row.description || "–",
      text: (row) => row.description,
    }),
    tags: <T extends { tags: string[] }>(): Column<T> => ({
      id: "tags",
      header: t("tags"),
      cell: (row) => <Tags tags={row.tags} />,
      text: (row) => row.tags.join(" "),
    }),
    created: <T extends { created_at: string }>(): Column<T> => ({
      id: "created",
      header: t("created"),
      cell: (row) => <Ago iso={row.created_at} />,
      text: (row) => row.created_at,
      sort: "created_at",
    }),
    id: <T extends { id: string }>(): Column<T> => ({
      id: "id",
      header: t("id"),
      cell: (row) => <Copy text={row.id} />,
      text: (row) => row.id,
      shown: "never",
    }),
  };
}

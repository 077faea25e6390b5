import Button from "@cloudscape-design/components/button";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useParams } from "react-router";
import { del, patch, post } from "../api/client";
import { nodes, storagePool as poolQuery } from "../api/queries";
import type { StoragePath, StoragePool } from "../api/types";
import { useFollow } from "../app/follow";
import { useFormat } from "../app/format";
import { useColumns } from "../parts/columns";
import { Confirm } from "../parts/confirm";
import { Empty, Meter, StateBadge } from "../parts/facts";
import { optionsOf, type Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { ItemPage } from "../parts/item-page";
import { NounPage } from "../parts/noun-page";
import { SimpleTable } from "../parts/simple-table";

function useFields(): Field[] {
  const { t } = useTranslation("common");
  return [
    { key: "name", label: t("name") },
    { key: "description", label: t("description") },
  ];
}

export function StoragePoolsPage() {
  const { t } = useTranslation(["storage", "shell", "common"]);
  const column = useColumns();
  const fields = useFields();
  return (
    <NounPage<StoragePool>
      topic="storage-pools"
      permission="storage_pool"
      cli="nano storage-pool create NAME"
      texts={{
        title: t("shell:storagePools"),
        text: t("pools.text"),
        create: t("pools.create"),
        empty: t("pools.empty"),
        edit: t("pools.edit"),
        deleteTitle: (count) => t("pools.deleteTitle", { count }),
        deleteText: t("pools.deleteText"),
      }}
      columns={[
        column.name("storage-pools"),
        column.cell<StoragePool>("use", t("common:use"), (row) => <Meter used={row.used_bytes} total={row.total_bytes} />, { shown: "always" }),
        column.text<StoragePool>("paths", t("pools.paths"), (row) => String(row.paths.length), { shown: "always" }),
        column.text<StoragePool>("driver", t("pools.driver"), (row) => row.driver),
        column.description(),
        column.id(),
      ]}
      createFields={fields}
      editFields={fields}
    />
  );
}

export function StoragePoolPage() {
  const { t } = useTranslation(["storage", "shell", "common"]);
  const { id = "" } = useParams();
  const query = useQuery(poolQuery(id));
  const [isEditing, setEditing] = useState(false);
  const fields = useFields();
  return (
    <ItemPage<StoragePool>
      query={query}
      noun={t("common:storagePool")}
      list={{ text: t("shell:storagePools"), href: "/storage-pools" }}
      description={(pool) => pool.description || t("pools.text")}
      actions={() => <Button onClick={() => setEditing(true)}>{t("common:edit")}</Button>}
    >
      {(pool) => (
        <>
          <Paths pool={pool} />
          {isEditing && (
            <FormDialog
              title={t("pools.edit")}
              submit={t("common:save")}
              fields={fields}
              item={pool}
              isEdit
              send={(body) => patch(`/storage-pools/${pool.id}`, body)}
              onClose={() => setEditing(false)}
            />
          )}
        </>
      )}
    </ItemPage>
  );
}

function Paths({ pool }: { pool: StoragePool }) {
  const { t } = useTranslation(["storage", "common"]);
  const column = useColumns();
  const format = useFormat();
  const { ask } = useFollow();
  const cells = useQuery(nodes());
  const [isAdding, setAdding] = useState(false);
  const [doomed, setDoomed] = useState<StoragePath | null>(null);
  const base = `/storage-pools/${pool.id}/paths`;
  const act = (path: StoragePath, action: string) =>
    void ask(t(`pools.doing.${action}`, { path: path.path, node: path.node }), () => post(`${base}/${path.id}/actions/${action}`));
  const add = <Button onClick={() => setAdding(true)}>{t("pools.addPath")}</Button>;
  return (
    <>
      <SimpleTable<StoragePath>
        title={t("pools.paths")}
        items={pool.paths}
        nameOf={(path) => `${path.node} ${path.path}`}
        actions={add}
        empty={<Empty title={t("pools.noPaths")} text={t("pools.noPathsText")} cli={`nano storage-pool add-path ${pool.name} NODE /srv/nano`} />}
        columns={[
          column.text("path", t("pools.path"), (row) => row.path, { shown: "always" }),
          column.text("node", t("common:node"), (row) => row.node, { shown: "always" }),
          column.cell("state", t("common:state"), (row) => <PathState path={row} />, { shown: "always" }),
          column.cell("use", t("common:use"), (row) => <Meter used={row.used_bytes} total={row.total_bytes} />),
          column.text("volumes", t("pools.volumes"), (row) => format.number(row.volumes)),
        ]}
        rowActions={[
          { id: "enable", text: t("pools.enable"), isHidden: (row) => row.is_enabled && !row.is_draining, run: (row) => act(row, "enable") },
          { id: "disable", text: t("pools.disable"), isHidden: (row) => !row.is_enabled, run: (row) => act(row, "disable") },
          { id: "drain", text: t("pools.drain"), isHidden: (row) => row.is_draining, run: (row) => act(row, "drain") },
          { id: "remove", text: t("common:removeIt"), run: setDoomed },
        ]}
      />
      {isAdding && (
        <FormDialog
          title={t("pools.addPath")}
          submit={t("common:add")}
          note={t("pools.addPathText")}
          fields={[
            { key: "node_id", kind: "choice", label: t("common:node"), options: optionsOf(cells.data?.items.filter((node) => node.roles.includes("cell"))) },
            { key: "path", label: t("pools.path"), placeholder: "/srv/nano" },
          ]}
          send={(body) => post(base, body)}
          onClose={() => setAdding(false)}
        />
      )}
      {doomed && (
        <Confirm
          title={t("pools.removeTitle", { path: doomed.path, node: doomed.node })}
          actionLabel={t("common:removeIt")}
          onConfirm={() => del(`${base}/${doomed.id}`)}
          onClose={() => setDoomed(null)}
        >
          {t("pools.removeText")}
        </Confirm>
      )}
    </>
  );
}

function PathState({ path }: { path: StoragePath }) {
  const state = path.is_draining ? "draining" : path.is_enabled ? path.state : "disabled";
  return (
    <>
      <StateBadge state={state} />
      {path.reason && <div>{path.reason}</div>}
    </>
  );
}

import Button from "@cloudscape-design/components/button";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useParams } from "react-router";
import { del, getPage, patch, post } from "../api/client";
import { addressPool, networks } from "../api/queries";
import type { AddressPool, AddressRange, Reservation } from "../api/types";
import { bodyOf, draftOf, type Draft, type FieldSpec } from "../logic/draft";
import { useColumns } from "../parts/columns";
import { Confirm } from "../parts/confirm";
import { Copy, Empty, Meter } from "../parts/facts";
import { optionsOf, type Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { ItemPage } from "../parts/item-page";
import { NounPage, type NounTexts } from "../parts/noun-page";
import { Rows } from "../parts/rows";
import { SimpleTable } from "../parts/simple-table";

const RANGE: FieldSpec[] = [{ key: "first" }, { key: "last" }];
const rangesText = (pool: AddressPool) => pool.ranges.map((range) => `${range.first} – ${range.last}`).join(", ");

export function AddressPoolsPage() {
  const { t } = useTranslation(["network", "shell", "common"]);
  const column = useColumns();
  const all = useQuery(networks());
  const nameOf = (id: string) => all.data?.items.find((network) => network.id === id)?.name ?? id.slice(0, 8);
  const texts: NounTexts = {
    title: t("shell:addressPools"),
    text: t("pools.text"),
    create: t("pools.create"),
    empty: t("pools.empty"),
    edit: t("pools.edit"),
    deleteTitle: (count) => t("pools.deleteTitle", { count }),
    deleteText: t("pools.deleteText"),
  };
  return (
    <NounPage<AddressPool>
      topic="address-pools"
      permission="address_pool"
      cli="nano address-pool create NAME --network default --range 10.77.0.100-10.77.0.199"
      texts={texts}
      columns={[
        column.name("address-pools"),
        column.text<AddressPool>("network", t("common:network"), (row) => row.network ?? nameOf(row.network_id), { shown: "always" }),
        column.text<AddressPool>("ranges", t("pools.ranges"), rangesText),
        column.cell<AddressPool>("use", t("networks.addresses"), (row) => <Meter used={row.addresses_allocated} total={row.addresses_total} isCount />, { shown: "always" }),
        column.created(),
        column.id(),
      ]}
      dialog={(pool, onClose) => <PoolDialog pool={pool} texts={texts} onClose={onClose} />}
    />
  );
}

function PoolDialog({ pool, texts, onClose }: { pool: AddressPool | null; texts: Pick<NounTexts, "edit" | "create">; onClose(): void }) {
  const { t } = useTranslation(["network", "common"]);
  const all = useQuery(networks());
  const name: Field = { key: "name", label: t("common:name") };
  const network: Field = { key: "network_id", kind: "choice", label: t("common:network"), options: optionsOf(all.data?.items) };
  const rows: Field[] = [
    { key: "first", label: t("pools.first"), placeholder: "10.77.0.100" },
    { key: "last", label: t("pools.last"), placeholder: "10.77.0.199" },
  ];
  const first = pool ? { ...pool, ranges: pool.ranges.map((range) => draftOf(RANGE, range)) } : { ranges: [{}] };
  return (
    <FormDialog
      title={pool ? texts.edit : texts.create}
      submit={t(pool ? "common:save" : "common:create")}
      fields={pool ? [name] : [name, network]}
      item={first}
      isEdit={pool !== null}
      extra={(draft, change, error) => (
        <Rows
          path="ranges"
          nameOf={(index) => t("pools.rangeNumber", { number: index + 1 })}
          fields={rows}
          rows={draft.ranges as Draft[]}
          change={(ranges) => change({ ranges })}
          error={error}
          addLabel={t("pools.addRange")}
          columns={2}
        />
      )}
      send={(body, draft) => {
        const full = { ...body, ranges: (draft.ranges as Draft[]).map((row) => bodyOf(RANGE, row) as unknown as AddressRange) };
        return pool ? patch(`/address-pools/${pool.id}`, full) : post("/address-pools", full);
      }}
      onClose={onClose}
    />
  );
}

export function AddressPoolPage() {
  const { t } = useTranslation(["network", "shell", "common"]);
  const { id = "" } = useParams();
  const query = useQuery(addressPool(id));
  const [isEditing, setEditing] = useState(false);
  return (
    <ItemPage<AddressPool>
      query={query}
      noun={t("common:addressPool")}
      list={{ text: t("shell:addressPools"), href: "/address-pools" }}
      description={rangesText}
      actions={() => <Button onClick={() => setEditing(true)}>{t("common:edit")}</Button>}
    >
      {(pool) => (
        <>
          <Reservations pool={pool} />
          {isEditing && <PoolDialog pool={pool} texts={{ edit: t("pools.edit"), create: t("pools.create") }} onClose={() => setEditing(false)} />}
        </>
      )}
    </ItemPage>
  );
}

function Reservations({ pool }: { pool: AddressPool }) {
  const { t } = useTranslation(["network", "common"]);
  const column = useColumns();
  const base = `/address-pools/${pool.id}/reservations`;
  const query = useQuery({ queryKey: ["address-pools", "reservations", pool.id], queryFn: ({ signal }) => getPage<Reservation>(base, signal) });
  const [isAdding, setAdding] = useState(false);
  const [doomed, setDoomed] = useState<Reservation | null>(null);
  return (
    <>
      <SimpleTable<Reservation>
        title={t("reservations.title")}
        description={t("reservations.text")}
        items={query.data?.items}
        keyOf={(row) => row.address}
        nameOf={(row) => row.address}
        error={query.error}
        onRetry={() => void query.refetch()}
        actions={<Button onClick={() => setAdding(true)}>{t("reservations.add")}</Button>}
        empty={<Empty title={t("reservations.empty")} text={t("reservations.text")} cli={`nano address-pool reserve ${pool.name} ADDRESS`} />}
        columns={[
          column.cell("address", t("reservations.address"), (row) => <span className="nano-whole"><Copy text={row.address} /></span>, { shown: "always" }),
          column.text("description", t("common:description"), (row) => row.description, { shown: "always" }),
        ]}
        rowActions={[{ id: "release", text: t("reservations.release"), run: setDoomed }]}
      />
      {isAdding && (
        <FormDialog
          title={t("reservations.add")}
          submit={t("reservations.submit")}
          fields={[
            { key: "address", label: t("reservations.address"), hint: t("reservations.addressHint") },
            { key: "description", label: t("common:description") },
          ]}
          send={(body) => post(base, body)}
          onClose={() => setAdding(false)}
        />
      )}
      {doomed && (
        <Confirm
          title={t("reservations.releaseTitle", { address: doomed.address })}
          actionLabel={t("reservations.release")}
          onConfirm={async () => {
            await del(`${base}/${encodeURIComponent(doomed.address)}`);
            await query.refetch();
          }}
          onClose={() => setDoomed(null)}
        />
      )}
    </>
  );
}

import { useTranslation } from "react-i18next";
import type { Network } from "../api/types";
import { useFormat } from "../app/format";
import { Ago, Copy, Empty } from "../parts/facts";
import { Page } from "../parts/page";
import { ResourceTable, type Column } from "../parts/resource-table";

export function NetworksPage() {
  const { t } = useTranslation(["pools", "shell", "common"]);
  const { number } = useFormat();
  const columns: Column<Network>[] = [
    { id: "name", header: t("common:name"), cell: (row) => row.name, text: (row) => row.name, sort: "name", shown: "always" },
    { id: "cidr", header: t("network.cidr"), cell: (row) => <Copy text={row.cidr} />, text: (row) => row.cidr, shown: "always" },
    { id: "gateway", header: t("network.gateway"), cell: (row) => row.gateway, text: (row) => row.gateway },
    { id: "mode", header: t("network.mode"), cell: (row) => row.mode.toUpperCase(), text: (row) => row.mode },
    { id: "domain", header: t("network.domain"), cell: (row) => row.domain, text: (row) => row.domain },
    {
      id: "use",
      header: t("network.addresses"),
      cell: (row) => `${number(row.addresses_allocated)} / ${number(row.addresses_total)}`,
      text: (row) => String(row.addresses_allocated),
      shown: "always",
    },
    { id: "default", header: t("network.default"), cell: (row) => t(row.is_default ? "common:yes" : "common:no") },
    { id: "created", header: t("common:created"), cell: (row) => <Ago iso={row.created_at} />, text: (row) => row.created_at },
  ];
  return (
    <Page title={t("shell:networks")}>
      <ResourceTable<Network>
        topic="networks"
        title={t("shell:networks")}
        columns={columns}
        filters={[]}
        defaultSort="name"
        empty={<Empty title={t("network.emptyTitle")} text={t("network.emptyText")} />}
      />
    </Page>
  );
}

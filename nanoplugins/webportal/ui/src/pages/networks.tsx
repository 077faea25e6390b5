import { useTranslation } from "react-i18next";
import type { Network } from "../api/types";
import { useColumns } from "../parts/columns";
import { Copy, Meter } from "../parts/facts";
import type { Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { NounPage, type NounTexts } from "../parts/noun-page";
import { patch, post } from "../api/client";

const MODES = ["nat", "isolated", "bridge"];

export function NetworksPage() {
  const { t } = useTranslation(["network", "shell", "common"]);
  const column = useColumns();
  const texts: NounTexts = {
    title: t("shell:networks"),
    text: t("networks.text"),
    create: t("networks.create"),
    empty: t("networks.empty"),
    edit: t("networks.edit"),
    deleteTitle: (count) => t("networks.deleteTitle", { count }),
    deleteText: t("networks.deleteText"),
  };
  return (
    <NounPage<Network>
      topic="networks"
      permission="network"
      cli="nano network create NAME --cidr 10.80.0.0/24"
      texts={texts}
      columns={[
        column.name(),
        column.text<Network>("mode", t("networks.mode"), (row) => t(`modes.${row.mode}`), { shown: "always" }),
        column.cell<Network>("cidr", t("networks.cidr"), (row) => (row.cidr ? <Copy text={row.cidr} /> : "–"), { text: (row) => row.cidr ?? "", shown: "always" }),
        column.text<Network>("gateway", t("networks.gateway"), (row) => row.gateway),
        column.text<Network>("domain", t("networks.domain"), (row) => row.domain),
        column.cell<Network>("use", t("networks.addresses"), (row) => <Meter used={row.addresses_allocated} total={row.addresses_total} isCount />, {
          text: (row) => String(row.addresses_allocated),
        }),
        column.text<Network>("default", t("networks.default"), (row) => t(row.is_default ? "common:yes" : "common:no")),
        column.created(),
        column.id(),
      ]}
      dialog={(network, onClose) => <NetworkDialog network={network} texts={texts} onClose={onClose} />}
    />
  );
}

function NetworkDialog({ network, texts, onClose }: { network: Network | null; texts: NounTexts; onClose(): void }) {
  const { t } = useTranslation(["network", "common"]);
  const name: Field = { key: "name", label: t("common:name") };
  const domain: Field = { key: "domain", label: t("networks.domain"), placeholder: "nano.internal" };
  const isDefault: Field = { key: "is_default", kind: "check", label: t("networks.makeDefault"), hint: t("networks.makeDefaultText") };
  const mode: Field = {
    key: "mode",
    kind: "choice",
    label: t("networks.mode"),
    options: MODES.map((value) => ({ value, label: t(`modes.${value}`), description: t(`modeTexts.${value}`) })),
  };
  const cidr: Field = { key: "cidr", label: t("networks.cidr"), placeholder: "10.80.0.0/24", hint: t("networks.cidrHint") };
  const cidr6: Field = { key: "ipv6_cidr", label: t("networks.cidr6"), placeholder: "fd00:80::/64", hint: t("networks.cidr6Hint") };
  const device: Field = { key: "interface", label: t("networks.interface"), placeholder: "eno1", hint: t("networks.interfaceHint") };
  return (
    <FormDialog
      title={network ? texts.edit : texts.create}
      submit={t(network ? "common:save" : "common:create")}
      fields={(draft) => {
        if (network) return [name, domain, isDefault];
        return draft.mode === "bridge" ? [name, mode, device, isDefault] : [name, mode, cidr, cidr6, domain, isDefault];
      }}
      item={network ?? { mode: "nat" }}
      isEdit={network !== null}
      send={(body) => (network ? patch(`/networks/${network.id}`, body) : post("/networks", body))}
      onClose={onClose}
    />
  );
}

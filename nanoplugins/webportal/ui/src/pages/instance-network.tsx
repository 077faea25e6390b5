// An instance's network cards.
import Button from "@cloudscape-design/components/button";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { del, patch, post } from "../api/client";
import { securityPolicies } from "../api/queries";
import type { Instance, Nic } from "../api/types";
import { useFollow } from "../app/follow";
import { whyNot } from "../logic/bulk";
import { useColumns } from "../parts/columns";
import { Confirm } from "../parts/confirm";
import { Addresses, Copy, Empty } from "../parts/facts";
import { optionsOf } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { SimpleTable } from "../parts/simple-table";
import { useNicFields } from "./instance-sections";

export function NetworkTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["instances", "common"]);
  const column = useColumns();
  const { follow, refresh } = useFollow();
  const [isAdding, setAdding] = useState(false);
  const [editing, setEditing] = useState<Nic | null>(null);
  const [doomed, setDoomed] = useState<Nic | null>(null);
  const fields = useNicFields().filter((field) => field.key !== "mac");
  const refusal = whyNot(instance, "update");
  const base = `/instances/${instance.id}/nics`;
  const add = (
    <Button disabled={refusal !== null} disabledReason={refusal || t("notPossible")} onClick={() => setAdding(true)}>
      {t("addNic")}
    </Button>
  );
  return (
    <>
      <SimpleTable<Nic>
        title={t("nics")}
        items={instance.nics}
        nameOf={(nic) => `${nic.network} ${nic.mac}`}
        actions={add}
        empty={<Empty title={t("noNics")} text={t("noNicsText")} />}
        columns={[
          column.text("network", t("common:network"), (nic) => nic.network, { shown: "always" }),
          column.cell("addresses", t("addresses"), (nic) => <Addresses addresses={nic.addresses} />, { shown: "always" }),
          column.cell("mac", t("mac"), (nic) => <Copy text={nic.mac} />),
          column.text("policy", t("common:securityPolicy"), (nic) => nic.security_policy),
        ]}
        rowActions={[
          { id: "policy", text: t("changePolicy"), whyNot: () => refusal, run: setEditing },
          { id: "remove", text: t("common:removeIt"), whyNot: () => refusal, run: setDoomed },
        ]}
      />
      {isAdding && (
        <FormDialog title={t("addNic")} submit={t("common:add")} fields={fields} send={(body) => post(base, body)} onClose={() => setAdding(false)} />
      )}
      {editing && <Policy nic={editing} base={base} onClose={() => setEditing(null)} />}
      {doomed && (
        <Confirm
          title={t("removeNic", { network: doomed.network, name: instance.name })}
          actionLabel={t("common:removeIt")}
          onConfirm={async () => {
            const answer = await del(`${base}/${doomed.id}`);
            void follow(t("removeNic", { network: doomed.network, name: instance.name }), answer).then(refresh);
          }}
          onClose={() => setDoomed(null)}
        >
          {t("removeNicText")}
        </Confirm>
      )}
    </>
  );
}

function Policy({ nic, base, onClose }: { nic: Nic; base: string; onClose(): void }) {
  const { t } = useTranslation(["instances", "common"]);
  const all = useQuery(securityPolicies());
  const none = t("common:none");
  return (
    <FormDialog
      title={t("changePolicyOf", { name: nic.mac })}
      submit={t("common:save")}
      fields={[{ key: "security_policy_id", kind: "choice", label: t("common:securityPolicy"), options: optionsOf(all.data?.items, none), placeholder: none, isLoading: all.isPending }]}
      item={nic}
      isEdit
      send={(body) => patch(`${base}/${nic.id}`, body)}
      onClose={onClose}
    />
  );
}

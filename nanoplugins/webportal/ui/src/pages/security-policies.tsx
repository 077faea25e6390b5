// Security policies, and the editor of their rules.
import Box from "@cloudscape-design/components/box";
import { useTranslation } from "react-i18next";
import { patch, post } from "../api/client";
import type { PolicyRule, SecurityPolicy } from "../api/types";
import { bodyOf, draftOf, type Draft, type FieldSpec } from "../logic/draft";
import { useColumns } from "../parts/columns";
import type { Field } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { NounPage, type NounTexts } from "../parts/noun-page";
import { Rows } from "../parts/rows";

const RULE: FieldSpec[] = ["direction", "action", "protocol", "ports", "remote", "description"].map((key) => ({ key }));
const FRESH_RULE: Draft = { direction: "inbound", action: "accept", protocol: "tcp" };
const ACTIONS = ["accept", "drop"];
const DIRECTIONS = ["inbound", "outbound"];
const PROTOCOLS = ["any", "tcp", "udp", "icmp"];

export function SecurityPoliciesPage() {
  const { t } = useTranslation(["network", "shell", "common"]);
  const column = useColumns();
  const texts: NounTexts = {
    title: t("shell:securityPolicies"),
    text: t("policies.text"),
    create: t("policies.create"),
    empty: t("policies.empty"),
    edit: t("policies.edit"),
    deleteTitle: (count) => t("policies.deleteTitle", { count }),
    deleteText: t("policies.deleteText"),
  };
  return (
    <NounPage<SecurityPolicy>
      topic="security-policies"
      permission="security_policy"
      cli="nano policy create NAME"
      texts={texts}
      columns={[
        column.name(),
        column.text<SecurityPolicy>("inbound", t("policies.inbound"), (row) => t(`policies.actions.${row.default_inbound}`), { shown: "always" }),
        column.text<SecurityPolicy>("outbound", t("policies.outbound"), (row) => t(`policies.actions.${row.default_outbound}`)),
        column.cell<SecurityPolicy>("rules", t("policies.rules"), (row) => <RuleLines rules={row.rules} />, { text: (row) => String(row.rules.length) }),
        column.text<SecurityPolicy>("cards", t("policies.cards"), (row) => String(row.nics_attached)),
        column.description(),
        column.created(),
        column.id(),
      ]}
      dialog={(policy, onClose) => <PolicyDialog policy={policy} texts={texts} onClose={onClose} />}
    />
  );
}

function RuleLines({ rules }: { rules: PolicyRule[] }) {
  const { t } = useTranslation("network");
  if (rules.length === 0) return <>–</>;
  const line = (rule: PolicyRule) =>
    [t(`policies.directions.${rule.direction}`), t(`policies.actions.${rule.action}`), t(`policies.protocols.${rule.protocol}`), rule.ports, rule.remote].filter(Boolean).join(" ");
  return (
    <>
      {rules.slice(0, 3).map((rule, index) => (
        <div key={index}>{line(rule)}</div>
      ))}
      {rules.length > 3 && <Box color="text-body-secondary">{t("policies.moreRules", { count: rules.length - 3 })}</Box>}
    </>
  );
}

function PolicyDialog({ policy, texts, onClose }: { policy: SecurityPolicy | null; texts: NounTexts; onClose(): void }) {
  const { t } = useTranslation(["network", "common"]);
  const choice = (key: string, label: string, values: string[], group: string): Field => ({
    key,
    kind: "choice",
    label,
    options: values.map((value) => ({ value, label: t(`policies.${group}.${value}`) })),
  });
  const fields: Field[] = [
    { key: "name", label: t("common:name") },
    { key: "description", label: t("common:description") },
    choice("default_inbound", t("policies.inbound"), ACTIONS, "actions"),
    choice("default_outbound", t("policies.outbound"), ACTIONS, "actions"),
  ];
  const ruleFields = (row: Draft): Field[] => [
    choice("direction", t("policies.direction"), DIRECTIONS, "directions"),
    choice("action", t("policies.action"), ACTIONS, "actions"),
    choice("protocol", t("policies.protocol"), PROTOCOLS, "protocols"),
    ...(row.protocol === "tcp" || row.protocol === "udp" ? [{ key: "ports", label: t("policies.ports"), placeholder: "22,80-90" }] : []),
    { key: "remote", label: t("policies.remote"), placeholder: "0.0.0.0/0" },
    { key: "description", label: t("common:description") },
  ];
  const first = {
    default_inbound: "drop",
    default_outbound: "accept",
    ...policy,
    rules: (policy?.rules ?? []).map((rule) => draftOf(RULE, rule)),
  };
  return (
    <FormDialog
      title={policy ? texts.edit : texts.create}
      submit={t(policy ? "common:save" : "common:create")}
      note={t("policies.note")}
      fields={fields}
      columns={2}
      item={first}
      isEdit={policy !== null}
      extra={(draft, change, error) => (
        <Rows
          path="rules"
          nameOf={(index) => t("policies.ruleNumber", { number: index + 1 })}
          fields={ruleFields}
          rows={draft.rules as Draft[]}
          change={(rules) => change({ rules })}
          error={error}
          addLabel={t("policies.addRule")}
          fresh={FRESH_RULE}
          columns={3}
        />
      )}
      send={(body, draft) => {
        const full = { ...body, rules: (draft.rules as Draft[]).map(ruleBody) };
        return policy ? patch(`/security-policies/${policy.id}`, full) : post("/security-policies", full);
      }}
      onClose={onClose}
    />
  );
}

/** Ports mean nothing to the protocols without any. */
function ruleBody(row: Draft): unknown {
  const { ports, ...rest } = bodyOf(RULE, row);
  return row.protocol === "tcp" || row.protocol === "udp" ? { ...rest, ...(ports ? { ports } : {}) } : rest;
}

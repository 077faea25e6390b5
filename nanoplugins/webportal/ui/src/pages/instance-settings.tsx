// What can be changed of an instance; whether the running guest has it yet is said by the API.
import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Form from "@cloudscape-design/components/form";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { patch } from "../api/client";
import type { Instance } from "../api/types";
import { useFollow } from "../app/follow";
import { whyNot } from "../logic/bulk";
import { changesOf, draftOf, type Draft } from "../logic/draft";
import { MIB } from "../logic/format";
import { Fields, type Field } from "../parts/fields";
import { ProblemAlert } from "../parts/problem";
import { useLimitFields } from "./instance-sections";

const FIRMWARES = ["bios", "uefi"];

export function SettingsTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["instances", "common"]);
  const { follow, refresh } = useFollow();
  const limits = useLimitFields();
  const main: Field[] = [
    { key: "name", label: t("common:name") },
    { key: "tags", kind: "tags", label: t("common:tags"), hint: t("create.tagsHint") },
    { key: "vcpus", kind: "number", label: t("vcpus"), hint: t("settings.liveHint") },
    { key: "memory_bytes", kind: "number", unit: MIB, label: t("create.memory"), hint: t("settings.liveHint") },
    {
      key: "firmware",
      kind: "choice",
      label: t("firmware"),
      options: FIRMWARES.map((value) => ({ value, label: t(`firmwares.${value}`) })),
      hint: t("settings.nextStart"),
    },
    { key: "description", kind: "textarea", label: t("common:description"), isWide: true },
    { key: "autostart", kind: "check", label: t("autostartText") },
    { key: "protected", kind: "check", label: t("protectedText") },
  ];
  const fields = [...main, ...limits];
  const [before, setBefore] = useState<Draft>(() => draftOf(fields, instance));
  const [draft, setDraft] = useState<Draft>(before);
  const change = (part: Draft) => setDraft((old) => ({ ...old, ...part }));
  const changes = changesOf(fields, draft, before);
  const refusal = whyNot(instance, "update");
  const save = useMutation({
    mutationFn: () => patch(`/instances/${instance.id}`, changes),
    onSuccess: (answer) => {
      setBefore(draft);
      void follow(t("saved", { name: String(draft.name) }), answer).then(refresh);
    },
  });
  const parts = { draft, change, error: save.error, columns: 2 };
  return (
    <Form
      actions={
        <SpaceBetween direction="horizontal" size="xs">
          <Button variant="link" onClick={() => setDraft(before)}>
            {t("common:discard")}
          </Button>
          <Button
            variant="primary"
            loading={save.isPending}
            disabled={refusal !== null || Object.keys(changes).length === 0}
            disabledReason={refusal || t("common:nothingChanged")}
            onClick={() => save.mutate()}
          >
            {t("common:save")}
          </Button>
        </SpaceBetween>
      }
    >
      <SpaceBetween size="m">
        <ProblemAlert error={save.error} />
        <Waiting instance={instance} />
        <Container header={<Header variant="h2">{t("tabs.settings")}</Header>}>
          <Fields {...parts} fields={main} />
        </Container>
        <Container header={<Header variant="h2" description={t("limits.text")}>{t("limits.title")}</Header>}>
          <Fields {...parts} fields={limits} />
        </Container>
      </SpaceBetween>
    </Form>
  );
}

/** What the record wants and the running guest does not have, and what its cell can't do at all. */
export function Waiting({ instance }: { instance: Instance }) {
  const { t } = useTranslation("instances");
  const names = (fields: string[]) => fields.map((field) => t(`fieldNames.${field.replaceAll(".", "_")}`, { defaultValue: field })).join(", ");
  return (
    <>
      {instance.changes_at_next_start.length > 0 && (
        <Alert type="info">{t("changesAtNextStart", { fields: names(instance.changes_at_next_start) })}</Alert>
      )}
      {instance.limits_unsupported.length > 0 && (
        <Alert type="warning">{t("limitsUnsupported", { fields: names(instance.limits_unsupported) })}</Alert>
      )}
    </>
  );
}

import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Checkbox from "@cloudscape-design/components/checkbox";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import Form from "@cloudscape-design/components/form";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Textarea from "@cloudscape-design/components/textarea";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { patch } from "../api/client";
import type { Instance } from "../api/types";
import { fieldError } from "../api/problem";
import { useFlashes } from "../app/flashes";
import { whyNot } from "../logic/bulk";
import { MIB } from "../logic/format";
import { parseTags } from "../logic/draft";
import { ProblemAlert } from "../parts/problem";

function draftOf(instance: Instance) {
  return {
    name: instance.name,
    description: instance.description,
    vcpus: String(instance.vcpus),
    memory: String(instance.memory_bytes / MIB),
    tags: instance.tags.join(", "),
    autostart: instance.autostart,
    protected: instance.protected,
  };
}

type Draft = ReturnType<typeof draftOf>;

/** Only what differs is sent. */
function changesOf(instance: Instance, draft: Draft): Record<string, unknown> {
  const before = draftOf(instance);
  const values: Record<keyof Draft, [string, unknown]> = {
    name: ["name", draft.name],
    description: ["description", draft.description],
    vcpus: ["vcpus", Number(draft.vcpus)],
    memory: ["memory_bytes", Math.round(Number(draft.memory) * MIB)],
    tags: ["tags", parseTags(draft.tags)],
    autostart: ["autostart", draft.autostart],
    protected: ["protected", draft.protected],
  };
  const changed = (Object.keys(values) as (keyof Draft)[]).filter((key) => draft[key] !== before[key]);
  return Object.fromEntries(changed.map((key) => values[key]));
}

export function SettingsTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["instances", "common"]);
  const client = useQueryClient();
  const { show } = useFlashes();
  const [draft, setDraft] = useState(() => draftOf(instance));
  const change = (part: Partial<Draft>) => setDraft((before) => ({ ...before, ...part }));
  const changes = changesOf(instance, draft);
  const needsRestart = instance.state.observed !== "stopped" && ("vcpus" in changes || "memory_bytes" in changes);
  const refusal = whyNot(instance, "update");
  const save = useMutation({
    mutationFn: () => patch<Instance>(`/instances/${instance.id}`, changes),
    onSuccess: (answer) => {
      setDraft(draftOf(answer));
      show({ id: `saved-${instance.id}`, type: "success", text: t("saved", { name: answer.name }) });
      void client.invalidateQueries({ queryKey: ["instances"] });
    },
  });
  return (
    <Form
      actions={
        <SpaceBetween direction="horizontal" size="xs">
          <Button variant="link" onClick={() => setDraft(draftOf(instance))}>
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
        {needsRestart && <Alert type="info">{t("needsRestart")}</Alert>}
        <Container header={<Header variant="h2">{t("tabs.settings")}</Header>}>
          <Fields draft={draft} change={change} error={save.error} />
        </Container>
      </SpaceBetween>
    </Form>
  );
}

interface FieldsProps {
  draft: Draft;
  change(part: Partial<Draft>): void;
  error: unknown;
}

function Fields({ draft, change, error }: FieldsProps) {
  const { t } = useTranslation(["instances", "common"]);
  return (
    <SpaceBetween size="m">
      <ColumnLayout columns={2}>
        <FormField label={t("common:name")} errorText={fieldError(error, "name")}>
          <Input value={draft.name} onChange={({ detail }) => change({ name: detail.value })} />
        </FormField>
        <FormField label={t("common:tags")} errorText={fieldError(error, "tags")}>
          <Input value={draft.tags} onChange={({ detail }) => change({ tags: detail.value })} />
        </FormField>
        <FormField label={t("vcpus")} errorText={fieldError(error, "vcpus")}>
          <Input type="number" value={draft.vcpus} onChange={({ detail }) => change({ vcpus: detail.value })} />
        </FormField>
        <FormField label={t("create.memory")} errorText={fieldError(error, "memory_bytes")}>
          <Input type="number" value={draft.memory} onChange={({ detail }) => change({ memory: detail.value })} />
        </FormField>
      </ColumnLayout>
      <FormField label={t("common:description")} errorText={fieldError(error, "description")} stretch>
        <Textarea rows={3} value={draft.description} onChange={({ detail }) => change({ description: detail.value })} />
      </FormField>
      <Checkbox checked={draft.autostart} onChange={({ detail }) => change({ autostart: detail.checked })}>
        {t("autostartText")}
      </Checkbox>
      <Checkbox checked={draft.protected} onChange={({ detail }) => change({ protected: detail.checked })}>
        {t("protectedText")}
      </Checkbox>
    </SpaceBetween>
  );
}

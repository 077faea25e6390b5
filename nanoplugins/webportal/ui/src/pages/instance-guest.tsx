// What is known of the software inside: readiness, stages of the first boot, what its agent tells.
import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { patch, post } from "../api/client";
import { guest as guestQuery } from "../api/queries";
import type { Instance } from "../api/types";
import { whyNot } from "../logic/bulk";
import { Addresses } from "../parts/facts";
import { FormDialog } from "../parts/form-dialog";
import { ProblemAlert } from "../parts/problem";
import { Actions } from "../parts/simple-table";
import { useFirstBootFields } from "./instance-sections";

const STAGE_LOOKS = { waiting: "pending", running: "in-progress", done: "success", failed: "error" } as const;

type Dialog = "set_password" | "set_hostname" | "first_boot" | null;

export function GuestTab({ instance }: { instance: Instance }) {
  const { t } = useTranslation(["guest", "common"]);
  const [open, setOpen] = useState<Dialog>(null);
  const query = useQuery(guestQuery(instance.id));
  const { facts: guest, ready, stages, warnings } = query.data ?? { facts: instance.guest, ready: instance.ready, stages: [], warnings: [] };
  const noAgent = guest.has_agent ? undefined : (guest.agent_reason ?? t("noAgent"));
  const refusal = whyNot(instance, "update");
  const yes = ready.is_ready === true;
  return (
    <SpaceBetween size="l">
      <Container header={<Header variant="h2">{t("readiness")}</Header>}>
        <SpaceBetween size="s">
          <StatusIndicator type={yes ? "success" : ready.is_ready === null ? "info" : "pending"}>
            {yes ? t("isReady") : ready.is_ready === null ? t("unknown") : t("notReady")}
          </StatusIndicator>
          {ready.stage && stages.length === 0 && <div>{t("stage", { name: ready.stage })}</div>}
          {ready.reason && <Alert type={yes || ready.is_ready === null ? "info" : "warning"}>{ready.reason}</Alert>}
          {stages.map((stage) => (
            <StatusIndicator key={stage.name} type={STAGE_LOOKS[stage.state]} wrapText>
              {[t("stage", { name: stage.name }), ...stage.errors].join(" – ")}
            </StatusIndicator>
          ))}
          {warnings.length > 0 && <Alert type="warning">{warnings.join("; ")}</Alert>}
          <ProblemAlert error={query.data ? null : query.error} onRetry={() => void query.refetch()} />
        </SpaceBetween>
      </Container>
      <Container
        header={
          <Header
            variant="h2"
            actions={
              <Actions>
                <Button disabled={noAgent !== undefined} disabledReason={noAgent} onClick={() => setOpen("set_password")}>
                  {t("setPassword")}
                </Button>
                <Button disabled={noAgent !== undefined} disabledReason={noAgent} onClick={() => setOpen("set_hostname")}>
                  {t("setHostname")}
                </Button>
              </Actions>
            }
          >
            {t("facts")}
          </Header>
        }
      >
        <KeyValuePairs
          columns={4}
          items={[
            { label: t("agent"), value: guest.has_agent ? t("common:yes") : (guest.agent_reason ?? t("common:no")) },
            { label: t("hostname"), value: guest.hostname ?? "–" },
            { label: t("system"), value: guest.system ?? "–" },
            { label: t("addresses"), value: <Addresses addresses={guest.addresses} /> },
          ]}
        />
      </Container>
      <Container
        header={
          <Header
            variant="h2"
            description={t("firstBootText")}
            actions={
              <Button disabled={refusal !== null} disabledReason={refusal ?? undefined} onClick={() => setOpen("first_boot")}>
                {t("common:edit")}
              </Button>
            }
          >
            {t("firstBoot")}
          </Header>
        }
      >
        {t(instance.has_cloud_init ? "hasFirstBoot" : "noFirstBoot")}
      </Container>
      {open && <GuestDialog kind={open} instance={instance} onClose={() => setOpen(null)} />}
    </SpaceBetween>
  );
}

function GuestDialog({ kind, instance, onClose }: { kind: Exclude<Dialog, null>; instance: Instance; onClose(): void }) {
  const { t } = useTranslation(["guest", "common"]);
  const firstBoot = useFirstBootFields();
  const actions = `/instances/${instance.id}/guest/actions`;
  const shapes = {
    set_password: {
      title: t("setPassword"),
      fields: [
        { key: "username", label: t("username"), placeholder: "root" },
        { key: "password", kind: "password" as const, label: t("password") },
      ],
      send: (body: unknown) => post(`${actions}/set_password`, body),
    },
    set_hostname: {
      title: t("setHostname"),
      fields: [{ key: "hostname", label: t("hostname"), placeholder: instance.name }],
      send: (body: unknown) => post(`${actions}/set_hostname`, body),
    },
    first_boot: {
      title: t("firstBoot"),
      fields: firstBoot,
      send: (body: unknown) => patch(`/instances/${instance.id}`, body),
    },
  };
  const shape = shapes[kind];
  return (
    <FormDialog
      title={shape.title}
      submit={t("common:save")}
      note={kind === "first_boot" ? t("firstBootNote") : undefined}
      fields={shape.fields}
      send={shape.send}
      onClose={onClose}
    />
  );
}

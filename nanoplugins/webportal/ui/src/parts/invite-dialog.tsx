// Makes a one-time invite and shows the command for the other host; lists what is still open.
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import Multiselect from "@cloudscape-design/components/multiselect";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { del, post } from "../api/client";
import { invites } from "../api/queries";
import type { Invite } from "../api/types";
import { fieldError } from "../api/problem";
import { Ago, Copy } from "./facts";
import { ProblemAlert } from "./problem";

const ROLES = ["cell", "core", "frontend", "relay"];

export function InviteDialog({ onClose }: { onClose(): void }) {
  const { t } = useTranslation(["nodes", "common"]);
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [roles, setRoles] = useState(["cell"]);
  const create = useMutation({
    mutationFn: () => post<Invite>("/node-invites", { roles, ...(name ? { name } : {}) }),
    onSuccess: () => client.invalidateQueries({ queryKey: ["node-invites"] }),
  });
  const options = ROLES.map((value) => ({ value, label: t(`roles.${value}`), description: t(`roleTexts.${value}`) }));
  const command = create.data?.command;
  return (
    <Modal
      visible
      size="medium"
      header={t("invite.action")}
      onDismiss={onClose}
      closeAriaLabel={t("common:close")}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              {t(command ? "common:close" : "common:cancel")}
            </Button>
            {!command && (
              <Button variant="primary" loading={create.isPending} onClick={() => create.mutate()}>
                {t("invite.submit")}
              </Button>
            )}
          </SpaceBetween>
        </Box>
      }
    >
      {command ? (
        <Alert type="success" header={t("invite.run")}>
          <SpaceBetween size="s">
            <pre className="nano-command">{command}</pre>
            <Copy text={command} label={t("invite.copy")} isBlock />
            <span>
              {t("invite.once")} <Ago iso={create.data?.expires_at} />
            </span>
          </SpaceBetween>
        </Alert>
      ) : (
        <SpaceBetween size="m">
          <span>{t("invite.text")}</span>
          <ProblemAlert error={create.error} />
          <FormField label={t("rolesTitle")} errorText={fieldError(create.error, "roles")}>
            <Multiselect
              ariaLabel={t("rolesTitle")}
              options={options}
              selectedOptions={options.filter((option) => roles.includes(option.value))}
              onChange={({ detail }) => setRoles(detail.selectedOptions.map((option) => option.value as string))}
            />
          </FormField>
          <FormField label={t("invite.name")} constraintText={t("invite.nameHint")} errorText={fieldError(create.error, "name")}>
            <Input value={name} onChange={({ detail }) => setName(detail.value)} />
          </FormField>
          <Open />
        </SpaceBetween>
      )}
    </Modal>
  );
}

function Open() {
  const { t } = useTranslation("nodes");
  const client = useQueryClient();
  const query = useQuery(invites());
  const withdraw = useMutation({
    mutationFn: (id: string) => del(`/node-invites/${id}`),
    onSettled: () => client.invalidateQueries({ queryKey: ["node-invites"] }),
  });
  const items = query.data?.items ?? [];
  if (items.length === 0) return null;
  return (
    <div>
      <Box variant="h3">{t("invite.open")}</Box>
      <ProblemAlert error={withdraw.error} />
      {items.map((invite) => (
        <div key={invite.id}>
          {invite.name ?? invite.id.slice(0, 8)} · {invite.roles.join(", ")} · <Ago iso={invite.expires_at} />{" "}
          <Button variant="inline-link" onClick={() => withdraw.mutate(invite.id)}>
            {t("invite.withdraw")}
          </Button>
        </div>
      ))}
    </div>
  );
}

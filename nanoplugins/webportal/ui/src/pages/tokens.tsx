import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { del, post } from "../api/client";
import { tokens } from "../api/queries";
import type { Token } from "../api/types";
import { fieldError } from "../api/problem";
import { Confirm } from "../parts/confirm";
import { Ago, Copy, Empty } from "../parts/facts";
import { Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";

const DAY_SECONDS = 86_400;

export function TokensPage() {
  const { t } = useTranslation(["admin", "shell", "common"]);
  const client = useQueryClient();
  const query = useQuery(tokens());
  const [isCreating, setCreating] = useState(false);
  const [doomed, setDoomed] = useState<Token | null>(null);
  const create = (
    <Button variant="primary" onClick={() => setCreating(true)}>
      {t("tokens.create")}
    </Button>
  );
  const refresh = () => void client.invalidateQueries({ queryKey: ["tokens"] });
  return (
    <Page title={t("shell:tokens")} description={t("tokens.text")}>
      {query.isError && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      <Table
        items={query.data?.items ?? []}
        trackBy="id"
        loading={query.isPending}
        loadingText={t("common:loading")}
        ariaLabels={{ tableLabel: t("shell:tokens") }}
        empty={<Empty title={t("tokens.emptyTitle")} text={t("tokens.text")} cli="nano token create NAME" action={create} />}
        header={
          <Header variant="h2" counter={query.data && `(${query.data.items.length})`} actions={create}>
            {t("tokens.list")}
          </Header>
        }
        columnDefinitions={[
          { id: "name", header: t("common:name"), cell: (row) => row.name, isRowHeader: true },
          { id: "created", header: t("common:created"), cell: (row) => <Ago iso={row.created_at} /> },
          { id: "expires", header: t("tokens.expires"), cell: (row) => (row.expires_at ? <Ago iso={row.expires_at} /> : t("tokens.never")) },
          { id: "used", header: t("tokens.used"), cell: (row) => (row.last_used_at ? <Ago iso={row.last_used_at} /> : t("tokens.notUsed")) },
          {
            id: "revoke",
            header: t("common:actions"),
            cell: (row) => (
              <Button variant="inline-link" ariaLabel={`${t("tokens.revoke")}: ${row.name}`} onClick={() => setDoomed(row)}>
                {t("tokens.revoke")}
              </Button>
            ),
          },
        ]}
      />
      {isCreating && <CreateToken onClose={() => (setCreating(false), refresh())} />}
      {doomed && (
        <Confirm
          title={t("tokens.revokeTitle", { name: doomed.name })}
          actionLabel={t("tokens.revoke")}
          onConfirm={() => del(`/tokens/${doomed.id}`)}
          onClose={() => (setDoomed(null), refresh())}
        >
          {t("tokens.revokeText")}
        </Confirm>
      )}
    </Page>
  );
}

function CreateToken({ onClose }: { onClose(): void }) {
  const { t } = useTranslation(["admin", "common"]);
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  const create = useMutation({
    mutationFn: () =>
      post<Token>("/tokens", { name, ...(days ? { expires_in_seconds: Number(days) * DAY_SECONDS } : {}) }),
  });
  const secret = create.data?.token;
  return (
    <Modal
      visible
      header={t("tokens.create")}
      onDismiss={onClose}
      closeAriaLabel={t("common:close")}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              {t(secret ? "common:close" : "common:cancel")}
            </Button>
            {!secret && (
              <Button variant="primary" loading={create.isPending} onClick={() => create.mutate()}>
                {t("tokens.create")}
              </Button>
            )}
          </SpaceBetween>
        </Box>
      }
    >
      {secret ? (
        <Alert type="success" header={t("tokens.once")}>
          <SpaceBetween size="s">
            <pre className="nano-command">{secret}</pre>
            <Copy text={secret} label={t("tokens.copy")} isBlock />
          </SpaceBetween>
        </Alert>
      ) : (
        <SpaceBetween size="m">
          <ProblemAlert error={create.error} />
          <FormField label={t("common:name")} errorText={fieldError(create.error, "name")}>
            <Input value={name} onChange={({ detail }) => setName(detail.value)} />
          </FormField>
          <FormField label={t("tokens.days")} constraintText={t("tokens.daysHint")}>
            <Input type="number" value={days} onChange={({ detail }) => setDays(detail.value)} />
          </FormField>
        </SpaceBetween>
      )}
    </Modal>
  );
}

import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Cards from "@cloudscape-design/components/cards";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { post } from "../api/client";
import { computePools } from "../api/queries";
import type { ComputePool } from "../api/types";
import { useSession } from "../app/session";
import { UsageDonuts } from "../parts/donut";
import { Empty, StateBadge } from "../parts/facts";
import { FormDialog } from "../parts/form-dialog";
import { AppLink, Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";

export function ComputePoolsPage() {
  const { t } = useTranslation(["pools", "shell", "common"]);
  const { can } = useSession();
  const query = useQuery(computePools());
  const [isCreating, setCreating] = useState(false);
  const create = (
    <Button
      variant="primary"
      disabled={!can("compute_pool.create")}
      disabledReason={t("common:noPermission")}
      onClick={() => setCreating(true)}
    >
      {t("create")}
    </Button>
  );
  return (
    <Page title={t("shell:computePools")} description={t("text")}>
      {query.isError && <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />}
      <Cards<ComputePool>
        items={query.data?.items ?? []}
        trackBy="id"
        loading={query.isPending}
        loadingText={t("common:loading")}
        ariaLabels={{ itemSelectionLabel: (_, pool) => pool.name, selectionGroupLabel: t("list") }}
        cardsPerRow={[{ cards: 1 }, { minWidth: 900, cards: 2 }]}
        header={
          <Header variant="h2" counter={query.data && `(${query.data.items.length})`} actions={create}>
            {t("list")}
          </Header>
        }
        empty={<Empty title={t("emptyTitle")} text={t("text")} cli="nano compute-pool create NAME" action={create} />}
        cardDefinition={{
          header: (pool) => <AppLink to={`/compute-pools/${pool.id}`}>{pool.name}</AppLink>,
          sections: [
            { id: "state", content: (pool) => <PoolLine pool={pool} /> },
            { id: "use", content: (pool) => <UsageDonuts usage={pool.usage} /> },
          ],
        }}
      />
      {isCreating && <CreatePool onClose={() => setCreating(false)} />}
    </Page>
  );
}

export function PoolLine({ pool }: { pool: ComputePool }) {
  const { t } = useTranslation("pools");
  return (
    <SpaceBetween direction="horizontal" size="m">
      <StateBadge state={pool.is_enabled ? "enabled" : "disabled"} />
      <span>{t("cellsLine", { count: pool.cells.length, reachable: pool.cells_reachable })}</span>
      <span>{t("instancesLine", { running: pool.instances_running, count: pool.instances })}</span>
      {pool.description && <Box color="text-body-secondary">{pool.description}</Box>}
    </SpaceBetween>
  );
}

function CreatePool({ onClose }: { onClose(): void }) {
  const { t } = useTranslation(["pools", "common"]);
  return (
    <FormDialog
      title={t("create")}
      submit={t("create")}
      fields={[
        { key: "name", label: t("common:name") },
        { key: "description", label: t("common:description") },
      ]}
      send={(body) => post("/compute-pools", body)}
      onClose={onClose}
    />
  );
}

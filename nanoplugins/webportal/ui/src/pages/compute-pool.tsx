import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import Table from "@cloudscape-design/components/table";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams } from "react-router";
import { del, patch, put } from "../api/client";
import { addressPools, computePool, instances, nodes, storagePools } from "../api/queries";
import type { ComputePool, Node } from "../api/types";
import { useFormat } from "../app/format";
import { Confirm } from "../parts/confirm";
import { UsageDonuts } from "../parts/donut";
import { Copy, Empty } from "../parts/facts";
import { optionsOf } from "../parts/fields";
import { FormDialog } from "../parts/form-dialog";
import { MetricsCharts } from "../parts/metrics-charts";
import { AppLink, Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
import { SmallInstanceTable } from "../parts/small-instance-table";
import { UrlTabs } from "../parts/url-tabs";
import { PoolLine } from "./compute-pools";
import { NodeState } from "./nodes";

export function ComputePoolPage() {
  const { t } = useTranslation(["pools", "shell", "common"]);
  const { id = "" } = useParams();
  const query = useQuery(computePool(id));
  const crumbs = [{ text: t("shell:computePools"), href: "/compute-pools" }];
  const pool = query.data;
  if (!pool) {
    return (
      <Page title={t("common:computePool")} crumbs={crumbs}>
        {query.isError ? <ProblemAlert error={query.error} onRetry={() => void query.refetch()} /> : <Spinner />}
      </Page>
    );
  }
  return (
    <Page title={pool.name} crumbs={crumbs} description={<PoolLine pool={pool} />} actions={<Actions pool={pool} />}>
      <SpaceBetween size="l">
        <Container header={<Header variant="h2">{t("common:capacity")}</Header>}>
          <UsageDonuts usage={pool.usage} />
        </Container>
        <UrlTabs
          tabs={[
            { id: "cells", label: t("cells"), content: <Cells pool={pool} /> },
            { id: "properties", label: t("properties"), content: <Properties pool={pool} /> },
            {
              id: "use",
              label: t("common:use"),
              content: <MetricsCharts subject={`compute-pools/${pool.id}`} memoryBytes={pool.usage.memory_bytes} diskBytes={pool.usage.disk_bytes} />,
            },
            { id: "instances", label: t("shell:instances"), content: <Instances pool={pool} /> },
          ]}
        />
      </SpaceBetween>
    </Page>
  );
}

function Instances({ pool }: { pool: ComputePool }) {
  const query = useQuery(instances(`limit=1000&compute_pool_id=${pool.id}&sort=name`));
  return <SmallInstanceTable query={query} allHref={`/instances?compute_pool=${encodeURIComponent(pool.name)}`} />;
}

function useRefresh() {
  const client = useQueryClient();
  return async () => {
    await client.invalidateQueries({ queryKey: ["compute-pools"] });
    await client.invalidateQueries({ queryKey: ["nodes"] });
  };
}

function Cells({ pool }: { pool: ComputePool }) {
  const { t } = useTranslation(["pools", "common"]);
  const format = useFormat();
  const refresh = useRefresh();
  const all = useQuery(nodes());
  const remove = useMutation({
    mutationFn: (node: Node) => del(`/compute-pools/${pool.id}/cells/${node.id}`),
    onSettled: refresh,
  });
  const cells = (all.data?.items ?? []).filter((node) => pool.cells.includes(node.id));
  return (
    <SpaceBetween size="m">
      <ProblemAlert error={remove.error} />
      <Table<Node>
        items={cells}
        trackBy="id"
        loading={all.isPending}
        loadingText={t("common:loading")}
        ariaLabels={{ tableLabel: t("cells") }}
        empty={<Empty title={t("noCellsTitle")} text={t("noCellsText")} cli={`nano compute-pool add-cell ${pool.name} NODE`} />}
        header={
          <Header variant="h2" counter={`(${pool.cells.length})`} actions={<AddCell pool={pool} nodes={all.data?.items ?? []} />}>
            {t("cells")}
          </Header>
        }
        columnDefinitions={[
          { id: "name", header: t("common:name"), cell: (row) => <AppLink to={`/nodes/${row.id}`}>{row.name}</AppLink>, isRowHeader: true },
          { id: "state", header: t("common:state"), cell: (row) => <NodeState node={row} /> },
          { id: "instances", header: t("instances"), cell: (row) => t("common:partOf", { part: row.instances_running, all: row.instances }) },
          { id: "cpu", header: t("common:cpu"), cell: (row) => format.percent(row.usage.cpu_percent, 0) },
          {
            id: "remove",
            header: t("common:actions"),
            cell: (row) => (
              <Button
                variant="inline-link"
                ariaLabel={`${t("removeCell")}: ${row.name}`}
                loading={remove.isPending && remove.variables.id === row.id}
                onClick={() => remove.mutate(row)}
              >
                {t("removeCell")}
              </Button>
            ),
          },
        ]}
      />
    </SpaceBetween>
  );
}

function AddCell({ pool, nodes: all }: { pool: ComputePool; nodes: Node[] }) {
  const { t } = useTranslation("pools");
  const refresh = useRefresh();
  const add = useMutation({
    mutationFn: (id: string) => put<ComputePool>(`/compute-pools/${pool.id}/cells/${id}`),
    onSettled: refresh,
  });
  const options = all
    .filter((node) => node.roles.includes("cell") && !pool.cells.includes(node.id) && node.state !== "revoked")
    .map((node) => ({
      value: node.id,
      label: node.name,
      description: node.compute_pool ? t("nowIn", { pool: node.compute_pool }) : t("inNone"),
    }));
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <ProblemAlert error={add.error} />
      <Box>
        <Select
          placeholder={t("addCell")}
          ariaLabel={t("addCell")}
          selectedOption={null}
          options={options}
          empty={t("noCellToAdd")}
          expandToViewport
          onChange={({ detail }) => add.mutate(detail.selectedOption.value as string)}
        />
      </Box>
    </SpaceBetween>
  );
}

function Properties({ pool }: { pool: ComputePool }) {
  const { t } = useTranslation(["pools", "common"]);
  const stores = useQuery(storagePools());
  const addresses = useQuery(addressPools());
  const format = useFormat();
  const ratio = (value: number | null) => (value === null ? t("asConfigured") : format.number(value, 2));
  const links = (topic: string, ids: string[], items: { id: string; name: string }[] | undefined) =>
    ids.length === 0
      ? t("anyPool")
      : ids.map((id) => (
          <div key={id} className="nano-line">
            <AppLink to={`/${topic}/${id}`}>{items?.find((item) => item.id === id)?.name ?? id}</AppLink>
          </div>
        ));
  return (
    <Container header={<Header variant="h2">{t("properties")}</Header>}>
      <KeyValuePairs
        columns={4}
        items={[
          { label: t("cpuOvercommit"), value: ratio(pool.cpu_overcommit) },
          { label: t("memoryOvercommit"), value: ratio(pool.memory_overcommit) },
          { label: t("common:storagePool"), value: links("storage-pools", pool.storage_pool_ids, stores.data?.items) },
          { label: t("common:addressPool"), value: links("address-pools", pool.address_pool_ids, addresses.data?.items) },
          { label: t("common:description"), value: pool.description || "–" },
          { label: t("common:id"), value: <Copy text={pool.id} /> },
        ]}
      />
    </Container>
  );
}

function Edit({ pool, onClose }: { pool: ComputePool; onClose(): void }) {
  const { t } = useTranslation(["pools", "common"]);
  const stores = useQuery(storagePools());
  const addresses = useQuery(addressPools());
  return (
    <FormDialog
      title={t("edit")}
      submit={t("common:save")}
      columns={2}
      fields={[
        { key: "name", label: t("common:name") },
        { key: "description", label: t("common:description") },
        { key: "cpu_overcommit", kind: "ratio", label: t("cpuOvercommit"), hint: t("cpuOvercommitHint") },
        { key: "memory_overcommit", kind: "ratio", label: t("memoryOvercommit"), hint: t("memoryOvercommitHint") },
        { key: "storage_pool_ids", kind: "choices", label: t("storagePools"), options: optionsOf(stores.data?.items), hint: t("anyPoolHint") },
        { key: "address_pool_ids", kind: "choices", label: t("addressPools"), options: optionsOf(addresses.data?.items), hint: t("anyPoolHint") },
      ]}
      item={pool}
      isEdit
      send={(body) => patch(`/compute-pools/${pool.id}`, body)}
      onClose={onClose}
    />
  );
}

function Actions({ pool }: { pool: ComputePool }) {
  const { t } = useTranslation(["pools", "common"]);
  const navigate = useNavigate();
  const refresh = useRefresh();
  const [isDeleting, setDeleting] = useState(false);
  const [isEditing, setEditing] = useState(false);
  const toggle = useMutation({
    mutationFn: () => patch<ComputePool>(`/compute-pools/${pool.id}`, { is_enabled: !pool.is_enabled }),
    onSettled: refresh,
  });
  return (
    <SpaceBetween direction="horizontal" size="xs">
      <ProblemAlert error={toggle.error} />
      <Button loading={toggle.isPending} onClick={() => toggle.mutate()}>
        {t(pool.is_enabled ? "disable" : "enable")}
      </Button>
      <Button onClick={() => setEditing(true)}>{t("common:edit")}</Button>
      {isEditing && <Edit pool={pool} onClose={() => setEditing(false)} />}
      <Button onClick={() => setDeleting(true)}>{t("common:delete")}</Button>
      {isDeleting && (
        <Confirm
          title={t("deleteTitle", { name: pool.name })}
          actionLabel={t("common:delete")}
          onConfirm={async () => {
            await del(`/compute-pools/${pool.id}`);
            await refresh();
            void navigate("/compute-pools");
          }}
          onClose={() => setDeleting(false)}
        >
          {t("deleteText")}
        </Confirm>
      )}
    </SpaceBetween>
  );
}

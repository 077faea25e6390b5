import Button from "@cloudscape-design/components/button";
import Checkbox from "@cloudscape-design/components/checkbox";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import Form from "@cloudscape-design/components/form";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import Input from "@cloudscape-design/components/input";
import Select, { type SelectProps } from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Textarea from "@cloudscape-design/components/textarea";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useSearchParams } from "react-router";
import { post } from "../api/client";
import { computePools, diskImages, networks, nodes } from "../api/queries";
import type { InstanceCreate, Node, Operation } from "../api/types";
import { useFlashes } from "../app/flashes";
import { useFormat } from "../app/format";
import { createCommand } from "../logic/cli";
import { GIB, MIB } from "../logic/format";
import { expandNames, parseTags } from "../logic/names";
import { Copy } from "../parts/facts";
import { useFocusInvalid } from "../parts/focus";
import { Page } from "../parts/page";
import { fieldError, ProblemAlert } from "../parts/problem";

interface Draft {
  name: string;
  count: string;
  imageId: string;
  vcpus: string;
  memoryMib: string;
  diskGib: string;
  poolId: string;
  nodeId: string;
  networkId: string;
  description: string;
  tags: string;
  autostart: boolean;
  protected: boolean;
  isStarted: boolean;
}

const EMPTY: Draft = {
  name: "",
  count: "1",
  imageId: "",
  vcpus: "1",
  memoryMib: "1024",
  diskGib: "",
  poolId: "",
  nodeId: "",
  networkId: "",
  description: "",
  tags: "",
  autostart: false,
  protected: false,
  isStarted: true,
};

export function bodyOf(draft: Draft): InstanceCreate {
  const tags = parseTags(draft.tags);
  return {
    name: draft.name.trim(),
    image_id: draft.imageId,
    vcpus: Number(draft.vcpus),
    memory_bytes: Math.round(Number(draft.memoryMib) * MIB),
    disk_size_bytes: draft.diskGib === "" ? undefined : Math.round(Number(draft.diskGib) * GIB),
    compute_pool_id: draft.poolId || undefined,
    node_id: draft.nodeId || undefined,
    network_id: draft.networkId || undefined,
    description: draft.description || undefined,
    tags: tags.length > 0 ? tags : undefined,
    autostart: draft.autostart || undefined,
    protected: draft.protected || undefined,
    is_started: draft.isStarted ? undefined : false,
  };
}

type Change = (part: Partial<Draft>) => void;
interface SectionProps {
  draft: Draft;
  change: Change;
  error: unknown;
}

export function InstanceCreatePage() {
  const { t } = useTranslation(["instances", "shell", "common"]);
  const navigate = useNavigate();
  const { follow } = useFlashes();
  const [search] = useSearchParams();
  const images = useQuery(diskImages());
  const ready = (images.data?.items ?? []).filter((image) => image.state === "ready");
  const [draft, setDraft] = useState<Draft>({ ...EMPTY, imageId: search.get("image") ?? "" });
  const [error, setError] = useState<unknown>(null);
  const [isBusy, setBusy] = useState(false);
  const full = { ...draft, imageId: draft.imageId || (ready[0]?.id ?? "") };
  const change: Change = (part) => setDraft((before) => ({ ...before, ...part }));
  const names = expandNames(full.name.trim(), Number(full.count) || 1);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      for (const name of names) {
        const operation = await post<Operation>("/instances", { ...bodyOf(full), name });
        void follow(t("creating", { name }), () => Promise.resolve(operation));
      }
      void navigate("/instances");
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  useFocusInvalid(error);
  const parts = { draft: full, change, error };
  return (
    <Page title={t("create.action")} crumbs={[{ text: t("shell:instances"), href: "/instances" }]}>
      <form onSubmit={(event) => void submit(event)}>
        <Form
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button variant="link" formAction="none" onClick={() => void navigate(-1)}>
                {t("common:cancel")}
              </Button>
              <Button variant="primary" loading={isBusy}>
                {t("create.submit")}
              </Button>
            </SpaceBetween>
          }
        >
          <SpaceBetween size="l">
            <ProblemAlert error={error} />
            <Basics {...parts} names={names} images={ready} isLoading={images.isPending} />
            <Size {...parts} />
            <Place {...parts} />
            <Options {...parts} />
            <Equivalent draft={full} image={ready.find((image) => image.id === full.imageId)?.name ?? ""} />
          </SpaceBetween>
        </Form>
      </form>
    </Page>
  );
}

interface BasicsProps extends SectionProps {
  names: string[];
  images: { id: string; name: string; virtual_size_bytes: number }[];
  isLoading: boolean;
}

function Basics({ draft, change, error, names, images, isLoading }: BasicsProps) {
  const { t } = useTranslation(["instances", "common"]);
  const format = useFormat();
  const options = images.map((image) => ({
    value: image.id,
    label: image.name,
    description: format.bytes(image.virtual_size_bytes),
  }));
  return (
    <Section title={t("create.basics")}>
      <ColumnLayout columns={3}>
        <FormField
          label={t("common:name")}
          constraintText={names.length > 1 ? names.slice(0, 4).join(", ") + (names.length > 4 ? " …" : "") : t("create.nameHint")}
          errorText={fieldError(error, "name")}
        >
          <Input value={draft.name} autoFocus onChange={({ detail }) => change({ name: detail.value })} />
        </FormField>
        <FormField label={t("common:diskImage")} errorText={fieldError(error, "image_id")}>
          <Choice
            label={t("common:diskImage")}
            value={draft.imageId}
            options={options}
            isLoading={isLoading}
            empty={t("create.noImage")}
            onChange={(imageId) => change({ imageId })}
          />
        </FormField>
        <FormField label={t("create.count")} constraintText={t("create.countHint")}>
          <Input type="number" value={draft.count} onChange={({ detail }) => change({ count: detail.value })} />
        </FormField>
      </ColumnLayout>
    </Section>
  );
}

function Size({ draft, change, error }: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const cells = useQuery(nodes());
  const fits = countFits(cells.data?.items ?? [], draft);
  return (
    <Section title={t("create.size")} description={fits && t("create.fits", fits)}>
      <ColumnLayout columns={3}>
        <FormField label={t("vcpus")} errorText={fieldError(error, "vcpus")}>
          <Input type="number" value={draft.vcpus} onChange={({ detail }) => change({ vcpus: detail.value })} />
        </FormField>
        <FormField label={t("create.memory")} errorText={fieldError(error, "memory_bytes")}>
          <Input type="number" value={draft.memoryMib} onChange={({ detail }) => change({ memoryMib: detail.value })} />
        </FormField>
        <FormField
          label={t("create.disk")}
          constraintText={t("create.diskHint")}
          errorText={fieldError(error, "disk_size_bytes")}
        >
          <Input type="number" value={draft.diskGib} onChange={({ detail }) => change({ diskGib: detail.value })} />
        </FormField>
      </ColumnLayout>
    </Section>
  );
}

/** An estimate from what the cells report; placement decides. */
function countFits(all: Node[], draft: Draft): { count: number; all: number } | undefined {
  const cells = all.filter((node) => node.roles.includes("cell") && (!draft.poolId || node.compute_pool_id === draft.poolId));
  if (cells.length === 0) return undefined;
  const wanted = Number(draft.memoryMib) * MIB;
  const fitting = cells.filter(
    ({ state, is_enabled: isEnabled, usage }) =>
      state === "online" && isEnabled && usage.memory_bytes - usage.memory_allocated_bytes >= wanted,
  );
  return { count: fitting.length, all: cells.length };
}

function Place({ draft, change, error }: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const pools = useQuery(computePools());
  const cells = useQuery(nodes());
  const all = useQuery(networks());
  const automatic = { value: "", label: t("create.automatic") };
  const named = (items: { id: string; name: string }[] | undefined): SelectProps.Option[] => [
    automatic,
    ...(items ?? []).map(({ id, name }) => ({ value: id, label: name })),
  ];
  return (
    <Section title={t("create.place")}>
      <ColumnLayout columns={3}>
        <FormField label={t("common:computePool")} errorText={fieldError(error, "compute_pool_id")}>
          <Choice
            label={t("common:computePool")}
            value={draft.poolId}
            options={named(pools.data?.items)}
            onChange={(poolId) => change({ poolId })}
          />
        </FormField>
        <FormField label={t("create.cell")} errorText={fieldError(error, "node_id")}>
          <Choice
            label={t("create.cell")}
            value={draft.nodeId}
            options={named(cells.data?.items.filter((node) => node.roles.includes("cell")))}
            onChange={(nodeId) => change({ nodeId })}
          />
        </FormField>
        <FormField label={t("common:network")} errorText={fieldError(error, "network_id")}>
          <Choice
            label={t("common:network")}
            value={draft.networkId}
            options={named(all.data?.items)}
            onChange={(networkId) => change({ networkId })}
          />
        </FormField>
      </ColumnLayout>
    </Section>
  );
}

function Options({ draft, change, error }: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  return (
    <Section title={t("create.options")}>
      <SpaceBetween size="m">
        <ColumnLayout columns={2}>
          <FormField label={t("common:description")} errorText={fieldError(error, "description")}>
            <Textarea
              rows={2}
              value={draft.description}
              onChange={({ detail }) => change({ description: detail.value })}
            />
          </FormField>
          <FormField label={t("common:tags")} constraintText={t("create.tagsHint")} errorText={fieldError(error, "tags")}>
            <Input value={draft.tags} onChange={({ detail }) => change({ tags: detail.value })} />
          </FormField>
        </ColumnLayout>
        <Checkbox checked={draft.isStarted} onChange={({ detail }) => change({ isStarted: detail.checked })}>
          {t("create.start")}
        </Checkbox>
        <Checkbox checked={draft.autostart} onChange={({ detail }) => change({ autostart: detail.checked })}>
          {t("autostartText")}
        </Checkbox>
        <Checkbox checked={draft.protected} onChange={({ detail }) => change({ protected: detail.checked })}>
          {t("protectedText")}
        </Checkbox>
      </SpaceBetween>
    </Section>
  );
}

function Equivalent({ draft, image }: { draft: Draft; image: string }) {
  const { t } = useTranslation("instances");
  const body = bodyOf(draft);
  const command = createCommand(body, image);
  const json = JSON.stringify(body, null, 2);
  return (
    <ExpandableSection headerText={t("create.equivalent")} variant="container">
      <SpaceBetween size="s">
        <pre className="nano-command">{command}</pre>
        <Copy text={command} label={t("create.copyCli")} isBlock />
        <pre className="nano-command">{json}</pre>
        <Copy text={json} label={t("create.copyJson")} isBlock />
      </SpaceBetween>
    </ExpandableSection>
  );
}

function Section({ title, description, children }: { title: string; description?: ReactNode; children: ReactNode }) {
  return (
    <Container
      header={
        <Header variant="h2" description={description}>
          {title}
        </Header>
      }
    >
      {children}
    </Container>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: SelectProps.Option[];
  isLoading?: boolean;
  empty?: string;
  onChange(value: string): void;
}

function Choice({ label, value, options, isLoading, empty, onChange }: ChoiceProps) {
  return (
    <Select
      ariaLabel={label}
      selectedOption={options.find((option) => option.value === value) ?? null}
      options={options}
      statusType={isLoading ? "loading" : "finished"}
      empty={empty}
      filteringType={options.length > 8 ? "auto" : "none"}
      onChange={({ detail }) => onChange(detail.selectedOption.value ?? "")}
    />
  );
}

// The sections of the form of a new instance.
import Container from "@cloudscape-design/components/container";
import ExpandableSection from "@cloudscape-design/components/expandable-section";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { computePools, mediaImages, networks, nodes, securityPolicies, storagePools, volumes } from "../api/queries";
import type { DiskImage, Node, Template } from "../api/types";
import { useFormat } from "../app/format";
import { createCommand } from "../logic/cli";
import type { Draft } from "../logic/draft";
import { MIB } from "../logic/format";
import { BLANK, DISK_FORM, FORM, NIC_FORM, requestOf, type InstanceDraft } from "../logic/instance-form";
import { expandNames } from "../logic/names";
import { Copy } from "../parts/facts";
import { Fields, optionsOf, type Field } from "../parts/fields";
import { Rows } from "../parts/rows";

export interface SectionProps {
  draft: InstanceDraft;
  change(part: Draft): void;
  error: unknown;
  images: DiskImage[];
  isLoading: boolean;
}

/** A field of the form with what people read about it. */
function labelled(spec: readonly { key: string }[], texts: Record<string, Omit<Field, "key" | "kind" | "unit">>): Field[] {
  return Object.entries(texts).map(([key, text]) => ({ ...(spec.find((field) => field.key === key) ?? { key }), ...text }));
}

interface BasicsProps extends SectionProps {
  templates?: Template[];
  onTemplate?(id: string): void;
  isTemplate?: boolean;
}

export function Basics({ templates = [], onTemplate, isTemplate = false, ...parts }: BasicsProps) {
  const { t } = useTranslation(["instances", "common"]);
  const format = useFormat();
  const { draft, change, images } = parts;
  const names = expandNames(draft.name.trim(), Number(draft.count) || 1);
  const options = images.map((image) => ({ value: image.id, label: image.name, description: format.bytes(image.virtual_size_bytes), tags: image.tags }));
  const image: Field = {
    key: "image_id",
    kind: "choice",
    label: t("common:diskImage"),
    options: [...options, isTemplate ? { value: BLANK, label: t("create.noneSaid") } : { value: BLANK, label: t("create.blank"), description: t("create.blankText") }],
    isLoading: parts.isLoading,
    hint: images.length === 0 && !parts.isLoading ? t("create.noImage") : undefined,
  };
  const name: Field = {
    key: "name",
    label: t("common:name"),
    hint: names.length > 1 ? names.slice(0, 3).join(", ") + (names.length > 3 ? " …" : "") : isTemplate ? undefined : t("create.nameHint"),
  };
  const fields: Field[] = isTemplate
    ? [name, image, { key: "about", label: t("create.about") }]
    : [name, image, { key: "count", kind: "number", label: t("create.count"), hint: t("create.countHint") }];
  const choice: Field = {
    key: "template_id",
    kind: "choice",
    label: t("common:template"),
    options: optionsOf(templates, t("common:none")),
    hint: t("create.templateHint"),
  };
  return (
    <Section title={t("create.basics")}>
      <Fields {...parts} fields={fields} columns={3} hasFocus />
      {templates.length > 0 && (
        <Fields
          {...parts}
          fields={[choice]}
          columns={3}
          change={(part) => (onTemplate ? onTemplate(String(part.template_id)) : change(part))}
        />
      )}
    </Section>
  );
}

export function Size(parts: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const cells = useQuery(nodes());
  const fits = countFits(cells.data?.items ?? [], parts.draft);
  const fields = labelled(FORM, {
    vcpus: { label: t("vcpus") },
    memory_bytes: { label: t("create.memory") },
    disk_size_bytes: { label: t("create.disk"), hint: t(parts.draft.image_id === BLANK ? "create.blankSize" : "create.diskHint") },
  });
  return (
    <Section title={t("create.size")} description={fits && t("create.fits", fits)}>
      <Fields {...parts} fields={fields} columns={3} />
    </Section>
  );
}

/** An estimate from what the cells report; placement decides. */
function countFits(all: Node[], draft: InstanceDraft): { count: number; all: number } | undefined {
  const pool = draft.compute_pool_id;
  const cells = all.filter((node) => node.roles.includes("cell") && (!pool || node.compute_pool_id === pool));
  if (cells.length === 0) return undefined;
  const wanted = Number(draft.memory_bytes) * MIB;
  const fitting = cells.filter(
    ({ state, is_enabled: isEnabled, usage }) =>
      state === "online" && isEnabled && usage.memory_bytes - usage.memory_allocated_bytes >= wanted,
  );
  return { count: fitting.length, all: cells.length };
}

export function Place(parts: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const pools = useQuery(computePools());
  const cells = useQuery(nodes());
  const stores = useQuery(storagePools());
  const automatic = t("create.automatic");
  const fields = labelled(FORM, {
    compute_pool_id: { label: t("common:computePool"), options: optionsOf(pools.data?.items, automatic), placeholder: automatic },
    node_id: {
      label: t("create.cell"),
      options: optionsOf(cells.data?.items.filter((node) => node.roles.includes("cell")), automatic),
      placeholder: automatic,
    },
    storage_pool_id: { label: t("common:storagePool"), options: optionsOf(stores.data?.items, automatic), placeholder: automatic },
  });
  return (
    <Section title={t("create.place")}>
      <Fields {...parts} fields={fields} columns={3} />
    </Section>
  );
}

export function MoreDisks({ draft, change, error }: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const format = useFormat();
  const stores = useQuery(storagePools());
  const all = useQuery(volumes());
  const free = (all.data?.items ?? []).filter((volume) => !volume.instance_id);
  const options = free.map((volume) => ({ value: volume.id, label: volume.name, description: `${format.bytes(volume.size_bytes)}, ${volume.node}` }));
  const fields = (row: Draft) =>
    labelled(DISK_FORM, {
      volume_id: { label: t("create.diskOf"), options: [{ value: "", label: t("create.newDisk") }, ...options], placeholder: t("create.newDisk") },
      ...(row.volume_id
        ? {}
        : {
            size_bytes: { label: t("create.diskSize") },
            name: { label: t("common:name") },
            storage_pool_id: { label: t("common:storagePool"), options: optionsOf(stores.data?.items, t("create.automatic")), placeholder: t("create.automatic") },
          }),
      is_kept: { label: t("create.isKept"), hint: t("create.isKeptText") },
    });
  return (
    <Folded title={t("create.moreDisks")} count={draft.disks.length} text={t("create.moreDisksText")}>
      <Rows
        path="disks"
        nameOf={(index) => t("create.diskNumber", { number: index + 2 })}
        fields={fields}
        rows={draft.disks}
        change={(disks) => change({ disks })}
        error={error}
        addLabel={t("create.addDisk")}
        fresh={{ size_bytes: "10" }}
        columns={4}
      />
    </Folded>
  );
}

export function NetworkCards({ draft, change, error }: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const fields = useNicFields();
  const isPlain = draft.nics.length === 1 && Object.values(draft.nics[0] ?? {}).every((value) => !value);
  return (
    <Folded title={t("nics")} count={draft.nics.length} text={isPlain ? t("create.nicsText") : undefined}>
      <Rows
        path="nics"
        nameOf={(index) => t("create.nicNumber", { number: index + 1 })}
        fields={fields}
        rows={draft.nics}
        change={(nics) => change({ nics })}
        error={error}
        addLabel={t("addNic")}
        columns={4}
      />
    </Folded>
  );
}

export function useNicFields(): Field[] {
  const { t } = useTranslation(["instances", "common"]);
  const all = useQuery(networks());
  const policies = useQuery(securityPolicies());
  return labelled(NIC_FORM, {
    network_id: { label: t("common:network"), options: optionsOf(all.data?.items, t("create.defaultNetwork")), placeholder: t("create.defaultNetwork") },
    security_policy_id: { label: t("common:securityPolicy"), options: optionsOf(policies.data?.items, t("common:none")), placeholder: t("common:none") },
    address: { label: t("address"), placeholder: t("create.automatic") },
    mac: { label: t("mac"), placeholder: t("create.automatic") },
  });
}

export function Media(parts: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const all = useQuery(mediaImages("limit=1000&state=ready"));
  const chosen = (parts.draft.media_image_ids as string[] | undefined)?.length ?? 0;
  const fields = labelled(FORM, {
    media_image_ids: { label: t("create.media"), options: optionsOf(all.data?.items), hint: t("create.mediaHint") },
  });
  return (
    <Folded title={t("create.mediaTitle")} count={chosen} text={t("create.mediaText")}>
      <Fields {...parts} fields={fields} columns={2} />
    </Folded>
  );
}

export function FirstBoot(parts: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const count = FORM.filter((field) => field.key.startsWith("cloud_init.") && parts.draft[field.key]).length;
  return (
    <Folded title={t("create.firstBoot")} count={count} text={t("create.firstBootText")}>
      <Fields {...parts} fields={useFirstBootFields()} columns={3} />
    </Folded>
  );
}

export function useFirstBootFields(): Field[] {
  const { t } = useTranslation(["instances", "common"]);
  return labelled(FORM, {
    "cloud_init.username": { label: t("create.username"), hint: t("create.usernameHint") },
    "cloud_init.password": { label: t("create.password") },
    "cloud_init.hostname": { label: t("create.hostname"), hint: t("create.hostnameHint") },
    "cloud_init.ssh_keys": { label: t("create.sshKeys"), hint: t("create.sshKeysHint"), isWide: true },
    "cloud_init.user_data": { label: t("create.userData"), hint: t("create.userDataHint"), isWide: true, rows: 5 },
  });
}

export function Options(parts: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const fields = labelled(FORM, {
    tags: { label: t("common:tags"), hint: t("create.tagsHint") },
    firmware: { label: t("firmware"), options: FIRMWARES.map((value) => ({ value, label: t(`firmwares.${value || "bios"}`) })), placeholder: t("firmwares.bios") },
    description: { label: t("common:description"), rows: 2, isWide: true },
    autostart: { label: t("autostartText") },
    protected: { label: t("protectedText") },
    has_tpm: { label: t("tpmText") },
  });
  const started: Field = { key: "is_started", kind: "check", label: t("create.start") };
  return (
    <Section title={t("create.options")}>
      <Fields {...parts} fields={[...fields, started]} columns={2} />
    </Section>
  );
}

const FIRMWARES = ["", "uefi"];

export function Limits(parts: SectionProps) {
  const { t } = useTranslation(["instances", "common"]);
  const fields = useLimitFields();
  const count = fields.filter((field) => parts.draft[field.key]).length;
  return (
    <Folded title={t("limits.title")} count={count} text={t("limits.text")}>
      <Fields {...parts} fields={fields} columns={2} />
    </Folded>
  );
}

export function useLimitFields(): Field[] {
  const { t } = useTranslation("instances");
  return labelled(FORM, {
    "qos.cpu_weight": { label: t("limits.cpu_weight"), hint: t("limits.cpuHint") },
    "qos.disk_iops": { label: t("limits.disk_iops"), hint: t("limits.none") },
    "qos.disk_bytes_per_second": { label: t("limits.disk_bytes_per_second"), hint: t("limits.none") },
    "qos.network_bytes_per_second": { label: t("limits.network_bytes_per_second"), hint: t("limits.none") },
  });
}

export function Equivalent({ draft, images }: SectionProps) {
  const { t } = useTranslation("instances");
  const { path, body } = requestOf(draft);
  const command = createCommand(path, body, (id) => images.find((image) => image.id === id)?.name ?? id);
  const json = JSON.stringify(body, null, 2);
  return (
    <ExpandableSection headerText={t("create.equivalent")} variant="container">
      <SpaceBetween size="s">
        <pre className="nano-command">{command}</pre>
        <Copy text={command} label={t("create.copyCli")} isBlock />
        <pre className="nano-command">{`POST /api/v2${path}\n${json}`}</pre>
        <Copy text={json} label={t("create.copyJson")} isBlock />
      </SpaceBetween>
    </ExpandableSection>
  );
}

export function Section({ title, description, children }: { title: string; description?: ReactNode; children: ReactNode }) {
  return (
    <Container
      header={
        <Header variant="h2" description={description}>
          {title}
        </Header>
      }
    >
      <SpaceBetween size="s">{children}</SpaceBetween>
    </Container>
  );
}

/** What most people leave as it is. */
function Folded({ title, count, text, children }: { title: string; count: number; text?: string; children: ReactNode }) {
  return (
    <ExpandableSection
      variant="container"
      headerText={title}
      headerCounter={count > 0 ? `(${count})` : undefined}
      headerDescription={text}
    >
      {children}
    </ExpandableSection>
  );
}

// One image: what it is, what the inspection said, where copies of it are.
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams } from "react-router";
import { patch, post } from "../api/client";
import { image as imageQuery, nodes } from "../api/queries";
import type { Image } from "../api/types";
import { useFollow } from "../app/follow";
import { useFormat } from "../app/format";
import { DeleteMany } from "../parts/delete-many";
import { Ago, Copy, Empty, Tags } from "../parts/facts";
import { FormDialog } from "../parts/form-dialog";
import { ImageState } from "../parts/image-state";
import { ItemPage } from "../parts/item-page";
import { AppLink } from "../parts/page";
import { Actions, SimpleTable } from "../parts/simple-table";
import { downloadOf, useEditFields, type ImageTopic } from "./images";

export function ImagePage({ topic }: { topic: ImageTopic }) {
  const { t } = useTranslation(["images", "shell", "common"]);
  const { id = "" } = useParams();
  const query = useQuery(imageQuery(topic, id));
  const isDisk = topic === "disk-images";
  return (
    <ItemPage<Image>
      query={query}
      noun={t(isDisk ? "common:diskImage" : "common:mediaImage")}
      list={{ text: t(isDisk ? "shell:diskImages" : "shell:mediaImages"), href: `/${topic}` }}
      description={(image) => <ImageState image={image} />}
      actions={(image) => <ImageActions image={image} topic={topic} />}
    >
      {(image) => (
        <SpaceBetween size="l">
          <Properties image={image} />
          <Caches image={image} topic={topic} />
        </SpaceBetween>
      )}
    </ItemPage>
  );
}

function ImageActions({ image, topic }: { image: Image; topic: ImageTopic }) {
  const { t } = useTranslation(["images", "common"]);
  const navigate = useNavigate();
  const [open, setOpen] = useState<"edit" | "delete" | null>(null);
  const fields = useEditFields();
  const key = topic === "disk-images" ? "disk" : "media";
  const isReady = image.state === "ready";
  return (
    <Actions>
      {topic === "disk-images" && (
        <Button disabled={!isReady} disabledReason={t("notReady")} onClick={() => void navigate(`/instances/create?image=${image.id}`)}>
          {t("createInstance")}
        </Button>
      )}
      <Button
        iconName="download"
        disabled={!isReady}
        disabledReason={t("notReady")}
        href={isReady ? downloadOf(topic, image.id) : undefined}
        download={image.name}
      >
        {t("download")}
      </Button>
      <Button onClick={() => setOpen("edit")}>{t("common:edit")}</Button>
      <Button onClick={() => setOpen("delete")}>{t("common:delete")}</Button>
      {open === "edit" && (
        <FormDialog
          title={t("edit")}
          submit={t("common:save")}
          fields={fields}
          item={image}
          isEdit
          send={(body) => patch(`/${topic}/${image.id}`, body)}
          onClose={() => setOpen(null)}
        />
      )}
      {open === "delete" && (
        <DeleteMany
          items={[image]}
          title={t(`${key}.deleteTitle`, { count: 1 })}
          text={t(`${key}.deleteText`)}
          path={() => `/${topic}/${image.id}`}
          onClose={(hasChanged) => (hasChanged ? void navigate(`/${topic}`) : setOpen(null))}
        />
      )}
    </Actions>
  );
}

function Properties({ image }: { image: Image }) {
  const { t } = useTranslation(["images", "common"]);
  const format = useFormat();
  return (
    <Container header={<Header variant="h2">{t("properties")}</Header>}>
      <KeyValuePairs
        columns={4}
        items={[
          { label: t("version"), value: image.version ?? "–" },
          { label: t("format"), value: image.format || "–" },
          { label: t("fileSize"), value: format.bytes(image.size_bytes) },
          { label: t("virtualSize"), value: format.bytes(image.virtual_size_bytes || null) },
          { label: t("digest"), value: image.sha256 ? <Copy text={image.sha256} label={image.sha256.slice(0, 20)} /> : "–" },
          { label: t("source"), value: <Source image={image} /> },
          { label: t("owner"), value: image.owner || "–" },
          { label: t("common:created"), value: <Ago iso={image.created_at} /> },
          { label: t("common:tags"), value: <Tags tags={image.tags} /> },
          { label: t("common:description"), value: image.description || "–" },
          { label: t("usedBy"), value: <UsedBy image={image} /> },
          { label: t("common:id"), value: <Copy text={image.id} /> },
        ]}
      />
    </Container>
  );
}

function Source({ image }: { image: Image }) {
  const { t } = useTranslation("images");
  const { source } = image;
  if (!source) return <>–</>;
  return <>{[t(`sources.${source.kind}`, { defaultValue: source.kind }), source.url].filter(Boolean).join(": ")}</>;
}

function UsedBy({ image }: { image: Image }) {
  if (image.used_by.length === 0) return <>–</>;
  return (
    <>
      {image.used_by.slice(0, 10).map((use) => (
        <div key={use.kind + use.id} className="nano-line">
          <AppLink to={use.kind === "instance" ? `/instances/${use.id}` : `/volumes?q=${encodeURIComponent(use.name)}`}>{use.name || use.id}</AppLink>
        </div>
      ))}
      {image.used_by.length > 10 && "…"}
    </>
  );
}

function Caches({ image, topic }: { image: Image; topic: ImageTopic }) {
  const { t } = useTranslation(["images", "common"]);
  const all = useQuery(nodes());
  const { ask } = useFollow();
  const cells = image.cached_on.map((id) => ({ id, name: all.data?.items.find((node) => node.id === id || node.name === id)?.name ?? id }));
  return (
    <SimpleTable
      title={t("cachedOn")}
      description={t("cachedText")}
      items={cells}
      nameOf={(cell) => cell.name}
      empty={<Empty title={t("notCached")} text={t("cachedText")} />}
      columns={[{ id: "name", header: t("common:node"), cell: (cell) => <AppLink to={`/nodes/${cell.id}`}>{cell.name}</AppLink>, shown: "always" }]}
      rowActions={[
        {
          id: "evict",
          text: t("evict"),
          run: (cell) => void ask(t("evicting", { name: cell.name }), () => post(`/${topic}/${image.id}/actions/evict`, { node_id: cell.id })),
        },
      ]}
    />
  );
}

// A new instance, or a template of one: one page, of which only the name has to be filled in.
import Button from "@cloudscape-design/components/button";
import Form from "@cloudscape-design/components/form";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState, type FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { patch, post } from "../api/client";
import { diskImages, template as templateQuery, templates } from "../api/queries";
import type { Template } from "../api/types";
import { useFollow } from "../app/follow";
import { useSession } from "../app/session";
import { BLANK, FRESH, requestOf, valuesOf, withValues, type InstanceDraft } from "../logic/instance-form";
import { FormDialog } from "../parts/form-dialog";
import { useFocusInvalid } from "../parts/focus";
import { Page } from "../parts/page";
import { ProblemAlert } from "../parts/problem";
import {
  Basics,
  Equivalent,
  FirstBoot,
  Limits,
  Media,
  MoreDisks,
  NetworkCards,
  Options,
  Place,
  Size,
  type SectionProps,
} from "./instance-sections";

/** The form's state; until somebody chose an image, the newest one that is ready stands there. */
function useForm(first: Partial<InstanceDraft>) {
  const images = useQuery(diskImages("limit=1000&state=ready&sort=-created_at"));
  const [draft, setDraft] = useState<InstanceDraft>({ ...FRESH, ...first });
  const [error, setError] = useState<unknown>(null);
  const full: InstanceDraft = { ...draft, image_id: (draft.image_id as string) || (images.data?.items[0]?.id ?? "") };
  const parts: SectionProps = {
    draft: full,
    change: (part) => setDraft((before) => ({ ...before, ...part })),
    error,
    images: images.data?.items ?? [],
    isLoading: images.isPending,
  };
  useFocusInvalid(error);
  return { parts, full, setDraft, error, setError };
}

export function InstanceCreatePage() {
  const { t } = useTranslation(["instances", "shell", "common"]);
  const navigate = useNavigate();
  const { follow, refresh } = useFollow();
  const { can } = useSession();
  const [search] = useSearchParams();
  const known = useQuery(templates());
  const { parts, full, setDraft, error, setError } = useForm({ image_id: search.get("image") ?? "" });
  const [isBusy, setBusy] = useState(false);
  const [isSaving, setSaving] = useState(false);
  const wanted = search.get("template") ?? "";
  const use = (id: string) => {
    const found = known.data?.items.find((template) => template.id === id);
    setDraft((before) => withValues({ ...before, template_id: id }, found?.values ?? {}));
  };
  useEffect(() => {
    if (wanted && known.data) use(wanted);
    // Once, when the templates are there.
  }, [wanted, known.data !== undefined]);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const { path, body } = requestOf(full);
      const operation = await post(path, body);
      void follow(t("creating", { name: full.name.trim() }), operation).then(refresh);
      void navigate("/instances");
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Page title={t("create.action")} crumbs={[{ text: t("shell:instances"), href: "/instances" }]}>
      <form onSubmit={(event) => void submit(event)}>
        <Form
          secondaryActions={
            <Button
              formAction="none"
              disabled={!can("template.create")}
              disabledReason={t("common:noPermission")}
              onClick={() => setSaving(true)}
            >
              {t("create.saveTemplate")}
            </Button>
          }
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
            <Basics {...parts} templates={known.data?.items ?? []} onTemplate={use} />
            <Sections {...parts} />
            <Equivalent {...parts} />
          </SpaceBetween>
        </Form>
      </form>
      {isSaving && (
        <FormDialog
          title={t("create.saveTemplate")}
          submit={t("common:save")}
          note={t("create.saveTemplateText")}
          fields={[
            { key: "name", label: t("common:name") },
            { key: "description", label: t("common:description") },
          ]}
          send={(body) => post("/templates", { ...body, values: valuesOf(full) })}
          onClose={() => setSaving(false)}
        />
      )}
    </Page>
  );
}

function Sections(parts: SectionProps) {
  return (
    <SpaceBetween size="l">
      <Size {...parts} />
      <Place {...parts} />
      <MoreDisks {...parts} />
      <NetworkCards {...parts} />
      <Media {...parts} />
      <FirstBoot {...parts} />
      <Options {...parts} />
      <Limits {...parts} />
    </SpaceBetween>
  );
}

export function TemplateEditPage() {
  const { id = "" } = useParams();
  const query = useQuery({ ...templateQuery(id), enabled: id !== "" });
  if (id !== "" && !query.data) return <ProblemAlert error={query.error} onRetry={() => void query.refetch()} />;
  return <TemplateForm template={query.data} key={id} />;
}

function TemplateForm({ template }: { template: Template | undefined }) {
  const { t } = useTranslation(["templates", "shell", "common"]);
  const navigate = useNavigate();
  const { follow, refresh } = useFollow();
  // What a template does not say stays unsaid.
  const unsaid = { ...FRESH, vcpus: "", memory_bytes: "", image_id: BLANK };
  const first = withValues({ ...unsaid, name: template?.name ?? "" }, template?.values ?? {});
  const { parts, full, error, setError } = useForm({ ...first, about: template?.description ?? "" });
  const title = template ? t("edit") : t("create");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setError(null);
    const body = { name: full.name.trim(), description: full.about ?? "", values: valuesOf(full) };
    try {
      const answer = await (template ? patch(`/templates/${template.id}`, body) : post("/templates", body));
      await follow(title, answer);
      await refresh();
      void navigate("/templates");
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <Page title={template?.name ?? title} crumbs={[{ text: t("shell:templates"), href: "/templates" }]}>
      <form onSubmit={(event) => void submit(event)}>
        <Form
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button variant="link" formAction="none" onClick={() => void navigate("/templates")}>
                {t("common:cancel")}
              </Button>
              <Button variant="primary">{t("common:save")}</Button>
            </SpaceBetween>
          }
        >
          <SpaceBetween size="l">
            <ProblemAlert error={error} />
            <Basics {...parts} isTemplate />
            <Sections {...parts} />
          </SpaceBetween>
        </Form>
      </form>
    </Page>
  );
}

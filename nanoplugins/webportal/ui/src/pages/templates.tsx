import Button from "@cloudscape-design/components/button";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import type { Template } from "../api/types";
import { useFormat } from "../app/format";
import { useColumns } from "../parts/columns";
import { NounPage } from "../parts/noun-page";

export function TemplatesPage() {
  const { t } = useTranslation(["templates", "shell", "common", "instances"]);
  const navigate = useNavigate();
  const column = useColumns();
  const format = useFormat();
  return (
    <NounPage<Template>
      topic="templates"
      permission="template"
      cli="nano template create NAME --vcpus 2 --memory 2G"
      texts={{
        title: t("shell:templates"),
        text: t("text"),
        create: t("create"),
        empty: t("empty"),
        edit: t("edit"),
        deleteTitle: (count) => t("deleteTitle", { count }),
        deleteText: t("deleteText"),
      }}
      columns={[
        column.name("templates"),
        column.description(),
        column.text<Template>("vcpus", t("instances:vcpus"), (row) => String(row.values.vcpus ?? "")),
        column.bytes<Template>("memory", t("common:memory"), (row) => row.values.memory_bytes as number | undefined, { shown: "always" }),
        column.text<Template>("disks", t("common:disks"), (row) => format.number(1 + ((row.values.disks as unknown[] | null | undefined)?.length ?? 0))),
        column.created(),
        column.id(),
      ]}
      onCreate={() => void navigate("/templates/create")}
      onEdit={(template) => void navigate(`/templates/${template.id}`)}
      actions={(selected) => (
        <Button
          disabled={selected.length !== 1}
          disabledReason={t("common:selectOne")}
          onClick={() => void navigate(`/instances/create?template=${selected[0]?.id ?? ""}`)}
        >
          {t("instances:create.action")}
        </Button>
      )}
    />
  );
}

// The page of a collection: its list with filter, columns and selection, and the dialogs to create, edit and delete.
import Button from "@cloudscape-design/components/button";
import { useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { patch, post } from "../api/client";
import { useSession } from "../app/session";
import { DeleteMany } from "./delete-many";
import { Empty } from "./facts";
import type { Field } from "./fields";
import { FormDialog } from "./form-dialog";
import type { Named } from "./many";
import { Page } from "./page";
import { ResourceTable, type Column, type FilterField } from "./resource-table";
import { Actions } from "./simple-table";

export interface NounTexts {
  title: string;
  /** What such a thing is, in a sentence. */
  text: string;
  create: string;
  empty: string;
  edit: string;
  deleteTitle(count: number): string;
  deleteText: string;
}

interface NounPageProps<T extends Named> {
  topic: string;
  /** The noun in permissions: `storage_pool`. */
  permission: string;
  texts: NounTexts;
  cli: string;
  columns: Column<T>[];
  filters?: FilterField[];
  defaultSort?: string;
  createFields?: Field[];
  editFields?: Field[];
  fresh?: unknown;
  /** Instead of the dialogs made from the fields. */
  dialog?(item: T | null, onClose: () => void): ReactNode;
  onCreate?(): void;
  onEdit?(item: T): void;
  hasDelete?: boolean;
  actions?(selected: T[]): ReactNode;
  children?: ReactNode;
}

export function NounPage<T extends Named>(props: NounPageProps<T>) {
  const { t } = useTranslation();
  const { can } = useSession();
  const [selected, setSelected] = useState<T[]>([]);
  const [open, setOpen] = useState<"create" | "edit" | "delete" | null>(null);
  const { texts, topic, permission } = props;
  const close = () => setOpen(null);
  const only = selected.length === 1 ? (selected[0] ?? null) : null;
  const isEditable = props.editFields !== undefined || props.dialog !== undefined || props.onEdit !== undefined;
  const isCreatable = props.createFields !== undefined || props.dialog !== undefined || props.onCreate !== undefined;
  const refusal = (verb: string) => (can(`${permission}.${verb}`) ? undefined : t("noPermission"));
  const create = isCreatable && (
    <Button
      variant="primary"
      disabled={refusal("create") !== undefined}
      disabledReason={refusal("create")}
      onClick={() => (props.onCreate ? props.onCreate() : setOpen("create"))}
    >
      {texts.create}
    </Button>
  );
  const editRefusal = only ? refusal("update") : t("selectOne");
  const deleteRefusal = selected.length > 0 ? refusal("delete") : t("selectSome");
  return (
    <Page title={texts.title} description={texts.text}>
      <ResourceTable<T>
        topic={topic}
        title={texts.title}
        columns={props.columns}
        filters={props.filters ?? []}
        defaultSort={props.defaultSort ?? "name"}
        selection={{ items: selected, change: setSelected }}
        empty={<Empty title={texts.empty} text={texts.text} cli={props.cli} action={create} />}
        actions={
          <Actions>
            {props.actions?.(selected)}
            {isEditable && (
              <Button
                disabled={editRefusal !== undefined}
                disabledReason={editRefusal}
                onClick={() => (props.onEdit && only ? props.onEdit(only) : setOpen("edit"))}
              >
                {t("edit")}
              </Button>
            )}
            {props.hasDelete !== false && (
              <Button disabled={deleteRefusal !== undefined} disabledReason={deleteRefusal} onClick={() => setOpen("delete")}>
                {t("delete")}
              </Button>
            )}
            {create}
          </Actions>
        }
      />
      {props.children}
      {open === "create" && (props.dialog ? props.dialog(null, close) : <NounForm {...props} onClose={close} />)}
      {open === "edit" && only && (props.dialog ? props.dialog(only, close) : <NounForm {...props} item={only} onClose={close} />)}
      {open === "delete" && (
        <DeleteMany
          items={selected}
          title={texts.deleteTitle(selected.length)}
          text={texts.deleteText}
          path={(item) => `/${topic}/${item.id}`}
          onClose={(hasChanged) => {
            close();
            if (hasChanged) setSelected([]);
          }}
        />
      )}
    </Page>
  );
}

function NounForm<T extends Named>(props: NounPageProps<T> & { item?: T; onClose(): void }) {
  const { t } = useTranslation();
  const { item, topic, texts } = props;
  return (
    <FormDialog
      title={item ? texts.edit : texts.create}
      submit={item ? t("save") : t("create")}
      fields={(item ? props.editFields : props.createFields) ?? []}
      item={item ?? props.fresh}
      isEdit={item !== undefined}
      send={(body) => (item ? patch(`/${topic}/${item.id}`, body) : post(`/${topic}`, body))}
      onClose={props.onClose}
    />
  );
}

// Form fields from a list of what they are: labels, hints, choices and the API's complaints in their places.
import Checkbox from "@cloudscape-design/components/checkbox";
import FormField from "@cloudscape-design/components/form-field";
import Grid from "@cloudscape-design/components/grid";
import Input from "@cloudscape-design/components/input";
import Multiselect from "@cloudscape-design/components/multiselect";
import Select, { type SelectProps } from "@cloudscape-design/components/select";
import Textarea from "@cloudscape-design/components/textarea";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { fieldError } from "../api/problem";
import type { Draft, FieldSpec } from "../logic/draft";

export interface Field extends FieldSpec {
  label: string;
  hint?: ReactNode;
  placeholder?: string;
  options?: SelectProps.Option[];
  isLoading?: boolean;
  /** What a list of choices says when there are none. */
  noOptions?: string;
  /** The whole width, whatever the columns. */
  isWide?: boolean;
  rows?: number;
}

export interface FieldsProps {
  fields: Field[];
  draft: Draft;
  change(part: Draft): void;
  error: unknown;
  columns?: number;
  /** The path before the fields' own: `disks[1].`. */
  prefix?: string;
  hasFocus?: boolean;
}

export function Fields({ fields, draft, change, error, columns = 1, prefix = "", hasFocus = false }: FieldsProps) {
  const span = Math.floor(12 / columns);
  return (
    <Grid gridDefinition={fields.map((field) => ({ colspan: field.isWide ? 12 : { default: 12, xs: span } }))}>
      {fields.map((field, index) => (
        <OneField
          key={field.key}
          field={field}
          value={draft[field.key]}
          error={fieldError(error, prefix + field.key)}
          hasFocus={hasFocus && index === 0}
          onChange={(value) => change({ [field.key]: value })}
        />
      ))}
    </Grid>
  );
}

interface OneFieldProps {
  field: Field;
  value: unknown;
  error: string | undefined;
  hasFocus: boolean;
  onChange(value: unknown): void;
}

function OneField(props: OneFieldProps) {
  const { field, value, error, onChange } = props;
  if (field.kind === "check") {
    return (
      <FormField errorText={error}>
        <Checkbox checked={value === true} description={field.hint} onChange={({ detail }) => onChange(detail.checked)}>
          {field.label}
        </Checkbox>
      </FormField>
    );
  }
  return (
    <FormField label={field.label} constraintText={field.hint} errorText={error} stretch>
      <Control {...props} />
    </FormField>
  );
}

function Control({ field, value, hasFocus, onChange }: OneFieldProps) {
  const { t } = useTranslation();
  const text = typeof value === "string" ? value : "";
  const shared = {
    placeholder: field.placeholder,
    autoFocus: hasFocus,
    onChange: ({ detail }: { detail: { value: string } }) => onChange(detail.value),
  };
  if (field.kind === "choice") return <Choice field={field} value={text} onChange={onChange} />;
  if (field.kind === "choices") {
    const chosen = (value as string[] | undefined) ?? [];
    const options = field.options ?? [];
    return (
      <Multiselect
        ariaLabel={field.label}
        selectedOptions={options.filter((option) => chosen.includes(option.value ?? ""))}
        options={options}
        empty={field.noOptions ?? t("nothingToChoose")}
        expandToViewport
        deselectAriaLabel={(option) => t("remove", { name: option.label })}
        onChange={({ detail }) => onChange(detail.selectedOptions.map((option) => option.value))}
      />
    );
  }
  if (field.kind === "textarea" || field.kind === "lines") {
    return <Textarea rows={field.rows ?? 3} value={text} {...shared} />;
  }
  const type = field.kind === "password" ? "password" : field.kind === "number" || field.kind === "ratio" ? "number" : "text";
  return <Input type={type} value={text} autoComplete={false} step="any" {...shared} />;
}

export function Choice({ field, value, onChange }: { field: Field; value: string; onChange(value: string): void }) {
  const { t } = useTranslation();
  const options = field.options ?? [];
  return (
    <Select
      ariaLabel={field.label}
      placeholder={field.placeholder ?? t("choose")}
      selectedOption={options.find((option) => option.value === value) ?? null}
      options={options}
      statusType={field.isLoading ? "loading" : "finished"}
      empty={field.noOptions ?? t("nothingToChoose")}
      filteringType={options.length > 8 ? "auto" : "none"}
      expandToViewport
      onChange={({ detail }) => onChange(detail.selectedOption.value ?? "")}
    />
  );
}

/** Named things of the API as choices; `first` stands for "not said". */
export function optionsOf(items: readonly { id: string; name: string }[] | undefined, first?: string): SelectProps.Option[] {
  const named = (items ?? []).map(({ id, name }) => ({ value: id, label: name }));
  return first === undefined ? named : [{ value: "", label: first }, ...named];
}
